/** Looks at drawn figures. */
import { fileURLToPath } from 'node:url';
import { Resvg } from '@resvg/resvg-js';

export const font = fileURLToPath(new URL('../../assets/fonts/Inter-Regular.ttf', import.meta.url));

/** The texts of a figure, as it shows them. */
export const textsOf = (svg: string) => [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text!);

/** The smallest distance of anything drawn from the edge of the picture, in its pixels. */
export function margin(svg: string): number {
  const image = new Resvg(svg, {
    font: { fontFiles: [font], loadSystemFonts: false, defaultFontFamily: 'Inter' },
  }).render();
  const { width, height, pixels } = image;
  let least = Number.POSITIVE_INFINITY;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      if (pixels[at] === 255 && pixels[at + 1] === 255 && pixels[at + 2] === 255) continue;
      least = Math.min(least, x, y, width - 1 - x, height - 1 - y);
    }
  }
  return least;
}
