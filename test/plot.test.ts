/** The stage plot through its door: what the figures say, that nothing is clipped, and that the bytes are always the same. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Resvg } from '@resvg/resvg-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Results } from '../stages/compare/results.ts';
import compare from '../stages/compare.ts';
import type { FigureEntry } from '../stages/plot/figure.ts';
import { readFont } from '../stages/plot/font.ts';
import plot from '../stages/plot.ts';
import { font, margin, textsOf } from './support/pictures.ts';
import { openWorkshop, type StageRun, type Workshop } from './support/stages.ts';
import { targetSets, writeStudy } from './support/study.ts';

const names = ['layer_sensitivity_heatmap', 'loss_curves', 'memory', 'performance_drop'];

let shop: Workshop;
let results: Results;
let drawn: StageRun;
beforeAll(async () => {
  shop = openWorkshop();
  const made = await shop.run(compare, { inputs: { ...writeStudy(join(shop.folder, 'study')) } });
  results = JSON.parse(readFileSync(made.outputs.results!, 'utf8')) as Results;
  drawn = await draw(results);
});
afterAll(() => shop.remove());

function draw(given: Results): Promise<StageRun> {
  const path = join(shop.folder, 'results.json');
  writeFileSync(path, JSON.stringify(given));
  return shop.run(plot, { inputs: { results: path } });
}
const svgOf = (run: StageRun, name: string) => readFileSync(join(run.outputs.figures!, `${name}.svg`), 'utf8');
const pngOf = (run: StageRun, name: string) => readFileSync(join(run.outputs.figures!, `${name}.png`));
const entriesOf = (run: StageRun) =>
  JSON.parse(readFileSync(join(run.outputs.figures!, 'figures.json'), 'utf8')) as FigureEntry[];

describe('the figures', () => {
  it('come as SVG and PNG, listed with their words', () => {
    expect(readdirSync(drawn.outputs.figures!).sort()).toEqual(
      ['figures.json', ...names.flatMap((name) => [`${name}.png`, `${name}.svg`, `${name}.vega.json`])].sort(),
    );
    const entries = entriesOf(drawn);
    expect(entries.map((entry) => entry.name).sort()).toEqual(names);
    for (const { title, alt } of entries) expect(title.length * alt.length).toBeGreaterThan(0);
  });

  it.each(names)('%s.png is a PNG of twice the stated size', (name) => {
    const png = pngOf(drawn, name);
    expect([...png.subarray(0, 8)]).toEqual([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
    const { width, height } = entriesOf(drawn).find((entry) => entry.name === name)!;
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([2 * width, 2 * height]);
  });

  it('number the cells of the heatmap, and put those in brackets whose interval includes zero', () => {
    const texts = textsOf(svgOf(drawn, 'layer_sensitivity_heatmap'));
    for (const family of ['q', 'k', 'v', 'o', 'fc', 'proj']) expect(texts).toContain(family);
    const { cells, whole } = results.sensitivity!;
    expect(cells).toHaveLength(30);
    for (const { layer, percent } of cells) {
      const number = percent.value
        .toFixed(layer === whole ? 2 : 3)
        .replace(/^-(?=.*[1-9])/, '−')
        .replace(/^-/, '');
      const { low, high } = percent.interval!;
      expect(texts).toContain(low <= 0 && high >= 0 ? `(${number})` : number);
    }
    // The most sensitive family comes first.
    expect(texts.indexOf('proj')).toBeLessThan(texts.indexOf('k'));
  });

  it('name configurations, seeds and precisions', () => {
    const drops = textsOf(svgOf(drawn, 'performance_drop'));
    const memory = textsOf(svgOf(drawn, 'memory'));
    const curves = textsOf(svgOf(drawn, 'loss_curves'));
    for (const targets of targetSets) {
      expect(drops).toContain(targets);
      expect(memory).toContain(targets);
      expect(curves).toContain(targets);
    }
    expect(drops).toEqual(expect.arrayContaining(['seed', '42', '43', '44', 'Performance drop by held-out loss, %']));
    expect(memory).toEqual(expect.arrayContaining(['weights', 'adapters', 'optimizer', 'activations', '9.6 MB']));
    expect(curves).toEqual(expect.arrayContaining(['bf16', 'nf4', 'Step']));
  });

  it('are the same bytes every time', async () => {
    const again = await draw(results);
    for (const name of names) {
      expect(svgOf(again, name)).toBe(svgOf(drawn, name));
      expect(pngOf(again, name).equals(pngOf(drawn, name))).toBe(true);
    }
  });

  it.each(names)('%s leaves a margin on every side', (name) => {
    expect(margin(svgOf(drawn, name))).toBeGreaterThanOrEqual(8);
  });

  it('make room for long names, and show markup in them as text', async () => {
    const long = 'attention and <script>alert(1)</script> & everything else that was adapted in this configuration';
    const renamed = JSON.parse(JSON.stringify(results).replaceAll('attention+mlp', long)) as Results;
    const run = await draw(renamed);
    for (const name of ['performance_drop', 'memory', 'loss_curves']) {
      const svg = svgOf(run, name);
      expect(margin(svg)).toBeGreaterThanOrEqual(8);
      expect(svg).not.toContain('<script');
      expect(svg).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
    }
  });

  it('are drawn from what there is: no figure without data, and a flat heatmap where nothing changed', async () => {
    const still = { value: 0, interval: { low: 0, high: 0 } };
    const { sensitivity } = results;
    const flat = {
      ...sensitivity!,
      cells: sensitivity!.cells.map((cell) => ({ ...cell, increase: still, percent: still })),
    };
    const run = await draw({ ...results, configurations: [], curves: [], sensitivity: flat });
    expect(entriesOf(run).map((entry) => entry.name)).toEqual(['layer_sensitivity_heatmap']);
    expect(textsOf(svgOf(run, 'layer_sensitivity_heatmap')).filter((text) => text === '(0.0)')).toHaveLength(30);
  });

  it('refuse a file that compare did not write', async () => {
    await expect(draw({} as Results)).rejects.toThrow(/holds no results: "format" is undefined, not 1 or 2/);
  });
});

describe('the font', () => {
  it.each(['Which weight matrices tolerate quantization?', '−0.0123', '±0.52 %', 'attention+mlp', 'Größe ≥ λ'])(
    'measures %j as it is drawn',
    (text) => {
      // Between two bars, what surrounds the ink of the outermost letters counts as it does in a line of text.
      const drawnWidth = (content: string) => {
        const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="2000" height="100"><text x="10" y="60" font-family="Inter" font-size="40">${content}</text></svg>`;
        return new Resvg(svg, { font: { fontFiles: [font], loadSystemFonts: false } }).innerBBox()!.width;
      };
      const drawn = drawnWidth(`|${text}|`) - drawnWidth('||');
      // Kerning is not measured.
      expect(Math.abs(readFont(font).width(text, 40) - drawn) / drawn).toBeLessThan(0.02);
    },
  );

  it('gives what it lacks the width of the box that stands for it', () => {
    expect(readFont(font).width('\u{1f600}', 10)).toBe(readFont(font).width('\u{e123}', 10));
  });
});
