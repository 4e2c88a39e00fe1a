/** How figures look: one font, quiet axes, and colours that colour-blind readers can tell apart. */
import type { Config } from 'vega-lite';
import { frame } from './figure.ts';

/** Okabe and Ito (Color Universal Design, 2008), the order chosen so that the first two differ most in lightness too. */
export const categorical = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00'] as const;

/** From no change to much worse, and from no change to better: one neutral start, then ColorBrewer's Oranges and Blues. */
export const worse = ['#f7f5f3', '#fdd0a2', '#fd8d3c', '#d94801', '#7f2704'] as const;
export const better = ['#f7f5f3', '#9ecae1', '#3182bd', '#08306b'] as const;

/** The family name under which the bundled font is known. */
export const fontFamily = 'Inter';

const font = `${fontFamily}, sans-serif`;

/** Set in one weight: the font is bundled in one. */
export const config: Config = {
  background: frame.paper,
  font,
  padding: 16,
  aria: false,
  title: {
    font,
    anchor: 'start',
    color: frame.ink,
    fontSize: 16,
    fontWeight: 'normal',
    offset: 16,
    subtitleFont: font,
    subtitleColor: frame.muted,
    subtitleFontSize: 12,
    subtitleFontWeight: 'normal',
    subtitleLineHeight: 17,
    subtitlePadding: 9,
  },
  axis: {
    labelColor: frame.muted,
    labelFontSize: 12,
    labelLimit: 0,
    labelPadding: 6,
    titleColor: frame.ink,
    titleFontSize: 12,
    titleFontWeight: 'normal',
    titlePadding: 10,
    titleLimit: 0,
    gridColor: frame.rule,
    gridOpacity: 0.7,
    domainColor: frame.rule,
    tickColor: frame.rule,
  },
  header: {
    labelColor: frame.ink,
    labelFontSize: 12,
    labelFontWeight: 'normal',
    labelLimit: 0,
    titleColor: frame.ink,
    titleFontSize: 12,
    titleFontWeight: 'normal',
  },
  legend: {
    labelColor: frame.muted,
    labelFontSize: 12,
    labelLimit: 0,
    titleColor: frame.ink,
    titleFontSize: 12,
    titleFontWeight: 'normal',
    titleLimit: 0,
    rowPadding: 4,
  },
  view: { stroke: null },
  // What a live figure says of the mark under the pointer.
  mark: { tooltip: { content: 'encoding' } },
  tooltipFormat: { numberFormat: '.4~r' },
};

/** A subtitle broken into lines of at most `width` characters, at spaces; a longer word gets a line of its own. */
export function lines(text: string, width = 92): string[] {
  const done: string[] = [];
  for (const word of text.split(' ')) {
    const last = done.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) done.push(word);
    else done[done.length - 1] = `${last} ${word}`;
  }
  return done;
}
