/** The stage report through its door: what a reader sees first, that the page needs nothing else, and that text stays text. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Json } from '../engine/stage.ts';
import type { Results } from '../stages/compare/results.ts';
import compare from '../stages/compare.ts';
import plot from '../stages/plot.ts';
import report from '../stages/report.ts';
import { one, writeLineage } from './support/report.ts';
import { openWorkshop, type StageRun, type Workshop } from './support/stages.ts';
import { type Study, writeStudy } from './support/study.ts';

const attack = '<script>alert("1")</script>';
const params = {
  title: 'Which weight matrices tolerate 4-bit?',
  question: 'Does it matter which?',
  facts: { Model: 'tiny & small', Layers: [0, 1], Training: { steps: 80, batch: 8 }, [attack]: `'${attack}'` },
  limits: [`One model | one ${attack}`],
} satisfies Record<string, Json>;

let shop: Workshop;
let study: Study;
let results: Results;
let figures: string;
let page: string;
let markdown: string;
beforeAll(async () => {
  shop = openWorkshop();
  study = writeStudy(join(shop.folder, 'study'));
  const made = await shop.run(compare, { inputs: { ...study } });
  results = JSON.parse(readFileSync(made.outputs.results!, 'utf8').replaceAll('q+k+v+o', 'q<b>|o')) as Results;
  figures = (await shop.run(plot, { inputs: { results: write(results) } })).outputs.figures!;
  ({ page, markdown } = await reportOn(results));
});
afterAll(() => shop.remove());

function write(given: Results): string {
  const path = join(shop.folder, 'results.json');
  writeFileSync(path, JSON.stringify(given));
  return path;
}

async function reportOn(given: Results, more: Record<string, Json> = {}) {
  const { summaries, curves } = study;
  const inputs = {
    results: one(write(given)),
    figures: one(figures),
    summaries,
    curves,
    lineage: writeLineage(shop.folder, study),
  };
  const run: StageRun = await shop.run(report, {
    inputs,
    params: { ...params, ...more },
  });
  const text = (output: string) => readFileSync(run.outputs[output]!, 'utf8');
  return { page: text('page'), markdown: text('markdown') };
}

/** The page without the code that runs in it. */
const markupOf = (html: string) => html.replaceAll(/<script>.*?<\/script>/gs, '');

/** What a reader of the page reads: its text, entities resolved. */
const visible = (html: string) =>
  html
    .replace(/<(style|script)[^>]*>.*?<\/\1>/gs, '')
    .replace(/<[^>]*>/g, ' ')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&')
    .replace(/\s+/g, ' ');

describe('the page', () => {
  it('gives the answer first, then what goes wrong, figures, the grid, tables, how it was made, and limits', () => {
    const text = visible(page);
    const order = [
      params.title,
      params.question,
      'Click a number for the record',
      'Found by rules over the tables',
      'Held-out loss rises when',
      'Figures Loss rises when',
      'Every trained model',
      'Performance drop and peak memory',
      'How it was made Model tiny & small Layers 0, 1 Training steps 80, batch 8',
      results.limits[0]!,
    ];
    expect(text).toContain(`${results.verdicts[0]!.hypothesis} ✓ supported By the increase in held-out loss`);
    expect(text).toContain(results.verdicts[0]!.rule);
    expect(text).toContain('GPU A graphics card');
    const places = order.map((part) => text.indexOf(part));
    expect(places).not.toContain(-1);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
  });

  it('shows every table and every number that carries the verdict', () => {
    const text = visible(page);
    for (const { title, note, rows } of results.tables) {
      expect(text).toContain(title);
      expect(text).toContain(note);
      expect(rows.length).toBeGreaterThan(0);
    }
    const close = text.replaceAll(' ', '');
    for (const { answer, evidence } of results.verdicts) {
      expect(close).toContain(answer.replaceAll(' ', ''));
      for (const { label, value } of evidence) expect(close).toContain(`${label}${value}`.replaceAll(' ', ''));
    }
    const rows = results.tables.reduce((sum, table) => sum + table.rows.length + 1, 0);
    expect(markupOf(page).match(/<tr/g)).toHaveLength(rows + study.summaries.length + 1);
    expect(page).toMatch(/<tr class="best" data-from="[\d ]+"><th scope="row" class="text">q\+v<\/th>/);
  });

  it('asks the network for nothing, runs no code but its own, and says so to the browser', () => {
    const [, policy] = /Content-Security-Policy" content="([^"]*)"/.exec(page)!;
    const scripts = [...page.matchAll(/<script>(.*?)<\/script>/gs)].map(([, text]) => text!);
    const hashes = scripts.map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`);
    expect(scripts).toHaveLength(2);
    expect(policy).toBe(
      `default-src 'none'; style-src 'unsafe-inline'; font-src data:; script-src ${hashes.join(' ')}`,
    );
    const markup = page.replaceAll(/<script.*?<\/script>/gs, '');
    expect(markup).not.toMatch(/<(link|iframe|img|object|embed)\b/i);
    for (const [, address] of markup.matchAll(/(?:src|href|xlink:href|action)="([^"]*)"/g))
      expect(address).toMatch(/^#/);
    for (const [, address] of markup.matchAll(/url\(([^)]{0,30})/g))
      expect(address).toMatch(/^(data:font\/woff2;base64,|#)/);
    expect(markup).not.toMatch(/@import|https?:(?!\/\/www\.w3\.org\/(2000\/svg|1999\/xlink)")/);
  });

  it('shows markup in names as text', () => {
    expect(page.match(/<script\b/g)).toHaveLength(2 + 5 + 1);
    expect(page).not.toContain('q<b>');
    expect(visible(page)).toContain(`${attack} '${attack}'`);
    expect(visible(page)).toContain('q<b>|o');
  });

  it('holds the record behind every number', () => {
    const records = JSON.parse(/id="records">(.*?)<\/script>/s.exec(page)![1]!) as { task: string; key: string }[];
    const ofRow = /data-from="([\d ]+)"><th scope="row" class="text">q\+v<\/th>.*?<\/tr>/s.exec(
      page.slice(page.indexOf('data-maker')),
    )!;
    const tasks = ofRow[1]!.split(' ').map((place) => records[Number(place)]!.task);
    expect(tasks.toSorted()).toEqual(
      ['bf16', 'nf4'].flatMap((precision) => [42, 43, 44].map((seed) => `train[q+v,${precision},${seed}]`)),
    );
    for (const [, place] of page.matchAll(/data-maker="(\d+)"/g)) expect(records[Number(place)]!.task).toBe('compare');
    const grid = page.slice(page.indexOf('id="grid-table"'), page.indexOf('</table>', page.indexOf('id="grid-table"')));
    for (const [, place, rank] of grid.matchAll(/data-from="(\d+)" data-targets="[^"]*" data-rank="(\d+)"/g))
      expect([records[Number(place)]!.task.slice(0, 6), rank]).toEqual(['train[', '8']);
    expect(visible(page)).toContain('200 steps of 4 records show a model 800 examples');
  });

  it('has every id once, and every reference to one has its target', () => {
    const ids = [...markupOf(page).matchAll(/\bid="([^"]*)"/g)].map(([, id]) => id!);
    expect(new Set(ids).size).toBe(ids.length);
    const references = [
      ...page.replaceAll(/<script.*?<\/script>/gs, '').matchAll(/(?:href="#|url\(#|aria-labelledby=")([^")]*)/g),
    ].flatMap(([, names]) => names!.split(' '));
    expect(references.length).toBeGreaterThan(10);
    for (const name of references) expect(ids).toContain(name);
  });

  it('describes its figures to those who do not see them', () => {
    expect(page.match(/<svg role="img" aria-labelledby=/g)).toHaveLength(5);
    expect(page).toMatch(/<svg class="graph" role="img" aria-label="[^"]*compare \(1\) from train/);
    expect(page).toMatch(/<desc id="layer_sensitivity_heatmap-desc">Heatmap of loss increases for 6 families/);
  });

  it('follows the colours of the page in figures: those that plot draws with are those that the style replaces', () => {
    for (const colour of [...page.matchAll(/\.figure svg \[(?:fill|stroke)="(#\w+)"\]/g)].map(([, c]) => c!)) {
      expect(page.split('</style>')[1]).toContain(`"${colour}"`);
    }
  });

  it('says that nothing was judged where no verdict is', async () => {
    expect(visible((await reportOn({ ...results, verdicts: [] })).page)).toContain('No hypothesis was judged');
  });
});

describe('the Markdown', () => {
  it('links figures and tables by relative addresses', async () => {
    for (const name of ['layer_sensitivity_heatmap', 'performance_drop', 'loss_curves', 'memory']) {
      expect(markdown).toContain(`](figures/${name}.png)`);
    }
    expect(markdown).toContain('](tables/performance.csv)');
    expect(markdown).toContain('](tables/layer_sensitivity.md), 24 rows');
    const moved = await reportOn(results, { figures_path: '../plots (new)', tables_path: 't' });
    expect(moved.markdown).toContain('](../plots%20%28new%29/memory.png)');
    expect(moved.markdown).toContain('](t/performance.csv)');
  });

  it('says what the page says, and keeps markup and cell borders out of names', () => {
    expect(markdown).toContain('**Supported: Weight matrices are not equally sensitive to quantization.**');
    for (const { measure } of results.verdicts) expect(markdown).toContain(`### By the ${measure}\n`);
    expect(markdown).toContain('## What goes wrong');
    expect(markdown).not.toContain('<script');
    expect(markdown).toContain('q&lt;b&gt;\\|o');
    expect(markdown).toContain('- One model \\| one &lt;script&gt;');
    const rows = markdown.split('\n').filter((line) => line.startsWith('| q'));
    for (const row of rows) expect(row.split(/(?<!\\)\|/).length).toBeGreaterThan(9);
  });
});

describe('what it refuses', () => {
  it('a figures folder that lacks a figure that it names', async () => {
    const folder = join(shop.folder, 'broken');
    mkdirSync(folder);
    writeFileSync(
      join(folder, 'figures.json'),
      JSON.stringify([{ name: 'gone', title: '', alt: '', width: 1, height: 1 }]),
    );
    const inputs = { results: one(write(results)), figures: one(folder), lineage: writeLineage(shop.folder, study) };
    await expect(shop.run(report, { inputs, params })).rejects.toThrow(
      /figures.json names gone, and gone.svg cannot be read/,
    );
    writeFileSync(
      join(folder, 'figures.json'),
      JSON.stringify([{ name: '../x', title: '', alt: '', width: 1, height: 1 }]),
    );
    await expect(shop.run(report, { inputs, params })).rejects.toThrow(/names a figure "..\/x"; names are letters/);
  });
});
