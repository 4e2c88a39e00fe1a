/** What a figure is, before and after it is drawn. */
import type { TopLevelSpec } from 'vega-lite';

/** A figure to draw: a Vega-Lite specification with its data, and the words that go with it. */
export interface Figure {
  /** File name without its ending. */
  readonly name: string;
  readonly title: string;
  /** What is shown and how to read it. */
  readonly caption: string;
  /** What a person who cannot see the figure should know: its message, with numbers. */
  readonly alt: string;
  readonly spec: TopLevelSpec;
}

/** An entry of `figures.json`, the list of what a figures folder holds; sizes in CSS pixels. */
export interface FigureEntry {
  readonly name: string;
  readonly title: string;
  readonly caption: string;
  readonly alt: string;
  readonly width: number;
  readonly height: number;
}
