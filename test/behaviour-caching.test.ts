/** What a run of the real stages computes again, and what it says of it, after each kind of edit. */
import { createHash } from 'node:crypto';
import { existsSync, rmSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { LineageGraph } from '../engine/lineage.ts';
import type { Artifact, TaskRecord } from '../engine/record.ts';
import type { Results } from '../stages/compare/results.ts';
import { formatCell } from '../stages/shared/format.ts';
import { type CommandProject, copyCheckout, openCheckout } from './support/checkout.ts';
import { smallStudy } from './support/small_study.ts';

/** One checkout for the file: each test edits it and puts it back, and after each the whole pipeline is up to date again. */
let checkout: CommandProject;
const undo: (() => void)[] = [];

beforeAll(async () => {
  checkout = openCheckout(smallStudy());
  const first = await checkout.pipe(['run', 'small']);
  expect(first.stderr).toBe('');
  expect(first.code).toBe(0);
}, 120_000);
afterAll(() => checkout.remove());
afterEach(async () => {
  for (const back of undo.splice(0)) back();
  const { executed, code } = await checkout.run(['small']);
  expect({ executed, code }).toEqual({ executed: [], code: 0 });
});

const edit = (path: string, from: string, to: string) => undo.push(checkout.edit(path, from, to));
/** Another program text that computes the same. */
const editCode = (path: string) => {
  const text = checkout.read(path);
  undo.push(() => checkout.write(path, text));
  checkout.write(path, `${text}\nexport const edited = true;\n`);
};

/** The stages of the small pipeline by what a run would do with them. */
async function statusOf(file = 'small') {
  const { stdout, code } = await checkout.pipe(['status', file, '--json']);
  expect(code).toBe(0);
  const { tasks } = JSON.parse(stdout) as { tasks: { task: string; stage: string; state: string }[] };
  const inState = (state: string) =>
    [...new Set(tasks.filter((task) => task.state === state).map(({ stage }) => stage))].sort();
  return { fresh: inState('fresh'), stale: inState('stale'), pending: inState('pending') };
}

const training = ['evaluate', 'evaluate-base', 'evaluate-family', 'train'];
const results = ['compare', 'plot', 'report'];

test('the first run publishes tables, figures and the report', () => {
  for (const path of ['tables/performance.csv', 'tables/performance.md', 'report.html', 'report.md'])
    expect(statSync(join(checkout.root, 'results/small', path)).size).toBeGreaterThan(0);
  for (const figure of ['layer_sensitivity_heatmap', 'loss_curves'])
    for (const kind of ['svg', 'png'])
      expect(existsSync(join(checkout.root, `results/small/figures/${figure}.${kind}`))).toBe(true);
});

test('every number of the report has a record in the store, and is what the record computed', () => {
  const page = checkout.read('results/small/report.html');
  const [, json] = /<script type="application\/json" id="records">(.*?)<\/script>/s.exec(page)!;
  const records = JSON.parse(json!) as { key: string; task: string; outputs: Record<string, string> }[];
  const kept = records.map(({ key }) => JSON.parse(checkout.read(`cache/ac/${key.slice(0, 2)}/${key}`)) as TaskRecord);
  expect(kept.map(({ task }) => task)).toEqual(records.map(({ task }) => task));
  const blob = ({ digest }: Artifact) => checkout.read(`cache/cas/${digest.slice(0, 2)}/${digest}`);

  // Tables: the numbers of the results that their record gave, each shown as the table's columns say.
  const markup = page.replaceAll(/<script.*?<\/script>/gs, '');
  let checked = 0;
  for (const [, maker, head, body] of markup.matchAll(/<table[^>]* data-maker="(\d+)">(.*?)<tbody>(.*?)<\/tbody>/gs)) {
    const made = JSON.parse(blob(kept[Number(maker)]!.outputs.results!)) as Results;
    const labels = [...head!.matchAll(/<th scope="col"[^>]*>(.*?)<\/th>/g)].map(([, label]) => label);
    const shown = [...body!.matchAll(/<tr[^>]*data-from="([\d ]+)".*?<\/tr>/gs)];
    const table = made.tables.find(
      ({ columns, rows }) =>
        rows.length === shown.length && JSON.stringify(columns.map(({ label }) => label)) === JSON.stringify(labels),
    )!;
    for (const [row, [markup, sources]] of shown.entries()) {
      const cells = [...markup.matchAll(/<t[hd][^>]*?(?: data-value="([^"]*)")?>(.*?)<\/t[hd]>/g)];
      expect(cells.map(([, , text]) => text)).toEqual(
        table.rows[row]!.map((cell, i) => formatCell(cell, table.columns[i]!)),
      );
      for (const [i, [, value]] of cells.entries()) {
        if (value === undefined) continue;
        expect(Number(value)).toBe(table.rows[row]![i]);
        checked += 1;
      }
      for (const source of sources!.split(' ')) expect(kept[Number(source)]).toBeDefined();
    }
  }
  // The grid: each row is one run, and its numbers are those of that run's own summary.
  const grid = markup.slice(markup.indexOf('id="grid-table"'));
  for (const [, record, cells] of grid.matchAll(/<tr data-from="(\d+)" data-targets[^>]*>(.*?)<\/tr>/gs)) {
    const summary = JSON.parse(blob(kept[Number(record)]!.outputs.summary!));
    const values = [...cells!.matchAll(/data-value="([^"]*)"/g)].map(([, value]) => Number(value));
    const { measurements } = kept[Number(record)]!;
    const { adapters, finalLoss, finalValidationLoss, memory } = summary;
    const step = 1000 * (measurements['seconds per step'] as number);
    expect(values).toEqual([adapters.rank, finalLoss, finalValidationLoss, memory.total / 1e6, step]);
    checked += values.length;
  }
  expect(checked).toBeGreaterThan(60);
  // Whatever else is a number that one can click stands in a part that has a record.
  for (const part of markup.split(/<(?=article|figure|table)/)) {
    if (!/<span class="n">/.test(part)) continue;
    const [, place] = /^[^>]* data-from="(\d+)"/.exec(part)!;
    expect(['compare', 'plot']).toContain(records[Number(place)]!.task);
  }
});

test('a second run executes nothing and prints one line; status says up to date', async () => {
  const { stdout, stderr, code } = await checkout.pipe(['run', 'small']);
  expect(stdout).toMatch(/^small: up to date \(21 tasks, [\d.]+ s\)\n$/);
  expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
  const status = await checkout.pipe(['status', 'small', '--check']);
  expect(status).toMatchObject({ stdout: 'small: up to date (21 tasks)\n', stderr: '', code: 0 });
});

test('an edit of comments, layout and types in stages/train.ts makes nothing stale', async () => {
  edit('stages/train.ts', 'import {', '// A remark.\n\n\nimport    {');
  edit(
    'stages/train.ts',
    'export default',
    '/** Of no use. */\ntype Unused = { readonly name: string };\n\nexport default',
  );
  expect((await checkout.pipe(['status', 'small', '--check'])).code).toBe(0);
});

test('an edit of stages/plot.ts makes the plots and the report stale, and nothing else', async () => {
  edit(
    'stages/plot.ts',
    'import { defineStage }',
    "import { mkdirSync, writeFileSync } from 'node:fs';\nimport { join } from 'node:path';\nimport { defineStage }",
  );
  edit(
    'stages/plot.ts',
    'const results = ',
    "mkdirSync(outputs.figures, { recursive: true });\n    writeFileSync(join(outputs.figures, 'note.txt'), 'edited');\n    const results = ",
  );
  expect(await statusOf()).toMatchObject({ stale: ['plot'], pending: ['report'] });
  expect((await checkout.pipe(['status', 'small', '--check'])).code).toBe(1);
  expect((await checkout.run(['small'])).executed).toEqual(['plot', 'report']);
  expect(checkout.read('results/small/figures/note.txt')).toBe('edited');
});

test('an edited stage whose output comes out equal stops the wave', async () => {
  editCode('stages/tokenize.ts');
  expect(await statusOf()).toEqual({
    fresh: ['base', 'data', 'quantize', 'quantize-family'],
    stale: ['tokens'],
    pending: [...results, ...training].sort(),
  });
  expect((await checkout.run(['small'])).executed).toEqual(['tokens']);
});

test('an edit of model/gpt2.ts makes quantize and all that is later stale: it says where the families of matrices lie', async () => {
  editCode('model/gpt2.ts');
  expect(await statusOf()).toEqual({
    fresh: ['base', 'data', 'tokens'],
    stale: ['quantize', 'quantize-family'],
    pending: [...results, 'evaluate', 'evaluate-base', 'evaluate-family', 'train'].sort(),
  });
});

test('an edit of model/nf4.ts makes quantize stale, and what comes later if its output changes', async () => {
  editCode('model/nf4.ts');
  const { stale } = await statusOf();
  expect(stale).toContain('quantize');
  expect(stale).not.toContain('tokens');
});

test('another value in a matrix runs the new tasks alone, and what takes the whole list', async () => {
  edit('pipelines/small.yaml', 'ranks: [2]', 'ranks: [2, 4]');
  const { executed } = await checkout.run(['small']);
  const rank4 = ['bf16', 'nf4'].flatMap((precision) =>
    [1, 2].map((seed) => `[rank=4,precision=${precision},seed=${seed}]`),
  );
  expect(executed).toEqual(
    [...['train', 'evaluate'].flatMap((stage) => rank4.map((axes) => stage + axes)), ...results].sort(),
  );
  expect(checkout.read('results/small/tables/runs.csv')).toContain('4');
});

test('another learning rate trains and evaluates again, and leaves what comes before; undone, all is there again', async () => {
  edit('pipelines/small.yaml', 'lr: 0.002', 'lr: 0.001');
  const { stages } = await checkout.run(['small']);
  expect(stages).toEqual([...results, 'evaluate', 'train'].sort());
});

test('why names the parameter, the input, the source and the source file, old and new', async () => {
  const why = async (task: string) => (await checkout.pipe(['why', task, 'small'])).stdout;
  expect(await why('tokens')).toContain('tokens is up to date');

  edit('pipelines/small.yaml', 'lr: 0.002', 'lr: 0.003');
  expect(await why('train')).toMatch(/^train \(4 tasks\) must run\n {2}parameter lr changed: 0\.002 -> 0\.003\n$/);
  expect(await why('report')).toMatch(/because train \(4 tasks\) must run\n {2}parameter lr changed: 0\.002 -> 0\.003/);

  editCode('stages/evaluate/teacher_forced.ts');
  expect(await why('evaluate-base')).toMatch(
    /^evaluate-base must run\n {2}stages\/evaluate\/teacher_forced\.ts changed: [0-9a-f]{12} -> [0-9a-f]{12}\n$/,
  );

  const records = checkout.read('data/records.json');
  undo.push(() => checkout.write('data/records.json', records));
  const shorter = `${JSON.stringify((JSON.parse(records) as unknown[]).slice(5))}\n`;
  checkout.write('data/records.json', shorter);
  const digest = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 12);
  expect(await why('data')).toBe(`data must run\n  source from changed: ${digest(records)} -> ${digest(shorter)}\n`);
  expect((await checkout.run(['small', 'data'])).executed).toEqual(['data']);
  expect(await why('tokens')).toBe(`tokens must run\n  input data changed: ${digest(records)} -> ${digest(shorter)}\n`);
});

test('lineage walks from a published table to the raw sources, with digests, code and host', async () => {
  const { stdout, code } = await checkout.pipe(['lineage', 'results/small/tables/performance.csv', '--format', 'json']);
  expect(code).toBe(0);
  const { root, nodes, edges } = JSON.parse(stdout) as LineageGraph;
  const tasks = nodes.flatMap((node) => (node.kind === 'task' ? [node] : []));
  const sources = nodes.flatMap((node) => (node.kind === 'source' ? [node] : []));
  expect(tasks[0]).toMatchObject({ id: root, task: 'compare' });
  expect(sources.map(({ path }) => path).sort()).toEqual(['data/records.json', 'models/toy']);
  const records = createHash('sha256').update(checkout.read('data/records.json')).digest('hex');
  expect(sources.find(({ path }) => path === 'data/records.json')?.id).toBe(records);
  // The 16-bit model has the very bytes of the base: whose artifact an input was is told apart all the same.
  const name = new Map(nodes.map((node) => [node.id, node.kind === 'task' ? node.task : node.path]));
  const from = (task: string) =>
    edges
      .filter(({ to }) => name.get(to) === task)
      .map((edge) => `${edge.input}: ${name.get(edge.from)}`)
      .sort();
  expect(from('quantize[precision=bf16]')).toEqual(['base: base']);
  expect(from('evaluate[rank=2,precision=nf4,seed=1]')).toEqual([
    'adapter: train[rank=2,precision=nf4,seed=1]',
    'data: tokens',
    'model: quantize[precision=nf4]',
    'reference: quantize[precision=bf16]',
    'reference_adapter: train[rank=2,precision=bf16,seed=1]',
  ]);
  expect(from('base')).toEqual(['param:from: models/toy']);
  // Every task but the two that only draw stands behind the table, and says with what code, where and when it ran.
  expect(tasks).toHaveLength(19);
  for (const { code, host, startedAt } of tasks) {
    expect(code?.digest).toMatch(/^[0-9a-f]{64}$/);
    expect(Object.keys(code?.listing ?? {}).some((file) => file.startsWith('stages/'))).toBe(true);
    expect(host.name).toBe(hostname());
    expect(Number.isNaN(Date.parse(startedAt))).toBe(false);
  }
  const text = await checkout.pipe(['lineage', 'results/small/tables/performance.csv']);
  for (const path of ['models/toy', 'data/records.json']) expect(text.stdout).toContain(path);
});

test('a pipeline that shares stages with another runs only what it has of its own', async () => {
  // Its records come from another stage, and are the same: tokens are shared by what they are made of.
  expect(await statusOf('other')).toEqual({
    fresh: ['base', 'quantize'],
    stale: ['data'],
    pending: ['evaluate', 'tokens'],
  });
  expect((await checkout.run(['other'])).executed).toEqual(['data', 'evaluate']);
});

test('a cache copied to another checkout, in a folder of any name, is a full hit', async () => {
  const elsewhere = copyCheckout(checkout, "build/it's another place");
  rmSync(join(elsewhere.root, 'results'), { recursive: true });
  try {
    const { executed, code } = await elsewhere.run(['small']);
    expect({ executed, code }).toEqual({ executed: [], code: 0 });
    expect(elsewhere.read('results/small/report.md')).toBe(checkout.read('results/small/report.md'));
  } finally {
    elsewhere.remove();
  }
});

test('verify finds everything as its digest says', async () => {
  const { stdout, code } = await checkout.pipe(['verify']);
  expect(stdout).toContain('everything is as its digest says');
  expect(code).toBe(0);
});
