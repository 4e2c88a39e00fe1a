/** Draws a figure: Vega-Lite to SVG without a browser, SVG to PNG, the same bytes every time. */
import { Resvg } from '@resvg/resvg-js';
import * as vega from 'vega';
import { compile } from 'vega-lite';
import { type Figure, frame } from './figure.ts';
import { type FontMetrics, readFont } from './font.ts';
import { fontFamily } from './theme.ts';
import { textMetrics } from './vega_extras.ts';

/** A drawn figure; `width` and `height` in CSS pixels. The PNG has `pixelsPerUnit` pixels to each. */
export interface Drawing {
  readonly svg: string;
  /** The compiled Vega specification, data included, as JSON: what draws the figure live. */
  readonly vega: string;
  readonly png: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** A PNG is sharp on screens of double density and in print. */
export const pixelsPerUnit = 2;

/** Draws with one font, whose widths also decide the layout. @param font path of a TrueType file. */
export function openRenderer(font: string): (figure: Figure) => Promise<Drawing> {
  const metrics = readFont(font);
  return async (figure) => {
    const vegaSpec = compile(figure.spec).spec;
    const svg = labelled(withOwnIds(await drawSvg(vegaSpec, metrics), figure.name), figure);
    const image = new Resvg(svg, {
      fitTo: { mode: 'zoom', value: pixelsPerUnit },
      background: frame.paper,
      font: { fontFiles: [font], loadSystemFonts: false, defaultFontFamily: fontFamily },
    });
    return {
      svg,
      vega: JSON.stringify(vegaSpec),
      png: image.render().asPng(),
      width: image.width,
      height: image.height,
    };
  };
}

async function drawSvg(spec: vega.Spec, metrics: FontMetrics): Promise<string> {
  const before = textMetrics.width;
  textMetrics.width = (item, text) => metrics.width(String(text ?? ''), item.fontSize ?? 11);
  // Vega numbers clip paths and gradients through the life of the process.
  vega.resetSVGDefIds();
  const view = new vega.View(vega.parse(spec), { renderer: 'none', logLevel: vega.Warn });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
    textMetrics.width = before;
  }
}

/** Ids get the figure's name in front, so that several figures can stand in one page. */
function withOwnIds(svg: string, name: string): string {
  return svg.replace(/(\bid="|url\(#)((?:clip|gradient_)\d+)/g, `$1${name}-$2`);
}

/** Says to a screen reader what the figure shows. */
function labelled(svg: string, { name, title, alt }: Figure): string {
  const words = `<title id="${name}-title">${escapeXml(title)}</title><desc id="${name}-desc">${escapeXml(alt)}</desc>`;
  const opening = svg.indexOf('>') + 1;
  const root = svg
    .slice(0, opening - 1)
    .replace(' class="marks"', '')
    .replace(/^<svg/, `<svg role="img" aria-labelledby="${name}-title ${name}-desc"`);
  return `${root}>${words}${svg.slice(opening)}\n`;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
