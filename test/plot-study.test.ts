/** The figures of the study's tables: what they say, and that nothing is clipped. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FigureEntry } from '../stages/plot/figure.ts';
import plot from '../stages/plot.ts';
import { adapterFindings, impactFindings, rankFindings } from './support/findings.ts';
import { margin, textsOf } from './support/pictures.ts';
import { openWorkshop, type Workshop } from './support/stages.ts';

let shop: Workshop;
beforeAll(() => {
  shop = openWorkshop();
});
afterAll(() => shop.remove());

async function draw(findings: object) {
  const path = join(shop.folder, 'results.json');
  writeFileSync(path, JSON.stringify(findings));
  const { outputs } = await shop.run(plot, { inputs: { results: path } });
  const read = (file: string) => readFileSync(join(outputs.figures!, file), 'utf8');
  const entries = JSON.parse(read('figures.json')) as FigureEntry[];
  return entries.map((entry) => ({ ...entry, svg: read(`${entry.name}.svg`), vega: read(`${entry.name}.vega.json`) }));
}

describe('figures of tables', () => {
  it('show what the study of impact found, with room on every side', async () => {
    const figures = await draw(impactFindings);
    expect(figures.map(({ name }) => name)).toEqual([
      'control_ladder',
      'gap_ratios',
      'match_by_margin',
      'weight_similarity_matrix',
      'step_time',
    ]);
    for (const { svg } of figures) expect(margin(svg)).toBeGreaterThanOrEqual(8);
    const [ladder, gaps, margins, matrix, time] = figures.map(({ svg }) => textsOf(svg));
    expect(ladder).toEqual(expect.arrayContaining(['the first values of A', 'the base: NF4, double quantization']));
    expect(gaps).toEqual(expect.arrayContaining(['1 − token match', 'both: another seed']));
    expect(margins).toEqual(expect.arrayContaining(['0.0000 to 0.1', 'over 3.0000', '386']));
    const titles = figures.map(({ title }) => title);
    expect(titles).toEqual([
      'Another seed moves the update further than a 4-bit base does',
      "Of 2 measures, quantization moves 1 more than another seed does; 1 cannot be told from a seed's",
      'Of tokens that the reference hardly chose, 61.0 % stay; of those it was sure of, 99.0 %',
      'Cosine of the updates: 0.96 with one seed, 0.09 with two',
      'A step on the 4-bit base takes 0.98 to 1.10 times as long',
    ]);
    expect(matrix!.filter((text) => text === '0.96')).toHaveLength(4);
    expect(matrix!.filter((text) => text === '0.09')).toHaveLength(8);
    expect(figures[3]!.alt).toContain('The most alike: bf16 42 and nf4 42, 0.96; the least:');
    // A time names its machine.
    expect(figures[4]!.svg.replaceAll(/<[^>]*>/g, ' ')).toContain('A processor, 2 threads');
    expect(time).toEqual(expect.arrayContaining(['1.10 ×', '0.98 ×', 'rank 2', 'q+k+v+o']));
    for (const { vega } of figures) expect(JSON.parse(vega).marks.length).toBeGreaterThan(0);
  });

  it('show two adapters by layer, with what was published of some', async () => {
    const [figure] = await draw(adapterFindings);
    expect(figure!.name).toBe('adapters_by_layer');
    expect(figure!.alt).toContain('the least alike is layer 1, 0.8243, the most layer 0, 0.8947');
    expect(margin(figure!.svg)).toBeGreaterThanOrEqual(8);
    const marks = JSON.parse(figure!.vega) as { data: { values?: { from?: string }[] }[] };
    const rings = marks.data.flatMap(({ values }) => values ?? []).filter(({ from }) => from === 'published');
    expect(rings).toHaveLength(2);
  });

  it('show r* where there is one, and say so where there is none', async () => {
    const [threshold, memory] = await draw(rankFindings);
    expect(threshold!.name).toBe('rank_threshold_plot');
    expect(textsOf(threshold!.svg)).toEqual(expect.arrayContaining(['r* is 16', '2', '4', '8', '16', 'token match']));
    expect(margin(threshold!.svg)).toBeGreaterThanOrEqual(8);
    expect(memory!.name).toBe('memory_comparison');
    expect(textsOf(memory!.svg)).toEqual(expect.arrayContaining(['This study', 'Published', '11,622', '16.5', 'LoRA']));
    expect(margin(memory!.svg)).toBeGreaterThanOrEqual(8);
    const [none] = await draw({ ...rankFindings, r_star: null });
    expect(textsOf(none!.svg)).toContain('No rank that was tried meets the threshold of 0.95');
  });
});
