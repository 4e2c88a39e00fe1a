/** What vega exports and its types leave out. */
import * as vega from 'vega';

interface Extras {
  /** How text is measured; assigning `width` replaces the estimate that vega makes without a canvas. */
  readonly textMetrics: {
    width(item: { readonly fontSize?: number }, text: string): number;
  };
  /** A piecewise ramp through colours, in a colour space: 0 is the first, 1 the last. */
  interpolateColors(colors: readonly string[], space: 'lab'): (share: number) => string;
}

export const { textMetrics, interpolateColors } = vega as unknown as Extras;
