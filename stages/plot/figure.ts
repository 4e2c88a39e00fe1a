/** What a figure is, before and after it is drawn: all that the report page knows of plots. */
import type { TopLevelSpec } from 'vega-lite';

/** A figure to draw: a Vega-Lite specification with its data, and the words that go with it. */
export interface Figure {
  /** File name without its ending. */
  readonly name: string;
  readonly title: string;
  /** The figure in words: its message, with the numbers; how to read it stands in the figure itself. */
  readonly alt: string;
  readonly spec: TopLevelSpec;
}

/** An entry of `figures.json`, the list of what a figures folder holds; sizes in CSS pixels. */
export interface FigureEntry {
  readonly name: string;
  readonly title: string;
  readonly alt: string;
  readonly width: number;
  readonly height: number;
}

/** The colours of a figure's frame. The report page replaces them by these exact values when it is dark. */
export const frame = { ink: '#1f2328', muted: '#59636e', rule: '#d1d9e0', paper: '#ffffff' } as const;
