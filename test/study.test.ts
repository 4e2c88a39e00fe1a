/** The three pipelines of the study and the diagnostic that includes them, on a model and records that take seconds. */
import { cpSync, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fromCSV } from 'arquero';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandProject, openProjectFolder, repository, type Told } from './support/checkout.ts';
import { recordsText, toyCheckpoint } from './support/small_study.ts';

const small = {
  base: 'models/toy',
  source: '{ uses: download, with: { from: data/records.json } }',
  records: '90',
  max_length: '96',
  targets: '[q+v, k+v]',
  ranks: '[2, 4]',
  rank: '2',
  seeds: '[1, 2]',
  steps: '3',
  batch: '4',
  eval_every: '3',
  examples: '8',
  greedy_examples: '2',
  greedy_tokens: '3',
};
const request = (pipeline: string, more: Record<string, string> = {}) => {
  const layers = ['diagnostic', 'layer-sensitivity'].includes(pipeline) ? { layers: '[all]' } : {};
  const params = { ...small, ...layers, ...more };
  return [pipeline, ...Object.entries(params).flatMap(([name, value]) => ['--param', `${name}=${value}`])];
};
const parts = ['quantization-impact', 'layer-sensitivity', 'rank-threshold'];

describe('the diagnostic', () => {
  let project: CommandProject;
  let first: Told;
  beforeAll(async () => {
    project = openProjectFolder({ ...toyCheckpoint(), 'data/records.json': recordsText(90) });
    cpSync(join(repository, 'pipelines'), join(project.root, 'pipelines'), { recursive: true });
    first = await project.run(request('diagnostic'));
  }, 300_000);
  afterAll(() => project.remove());

  const rows = (table: string) =>
    fromCSV(project.read(`results/diagnostic/tables/${table}.csv`)).objects() as Record<string, number | string>[];

  test('runs, and publishes every table of its three parts with a verdict for each', () => {
    expect({ stderr: first.stderr, code: first.code }).toEqual({ stderr: '', code: 0 });
    const tables = (part: string) =>
      readdirSync(join(project.root, 'results/diagnostic/tables', part)).filter((name) => name.endsWith('.csv'));
    expect(
      tables('quantization-impact')
        .map((name) => name.replace('.csv', ''))
        .sort(),
    ).toEqual([
      'ablations',
      'adapter_swaps',
      'gaps',
      'ladder',
      'margins',
      'published_figures',
      'quantization_error',
      'spectrum',
      'step_time',
      'updates_by_layer',
      'updates_by_rank',
      'updates_by_targets',
      'weight_similarity',
    ]);
    expect(tables('rank-threshold').sort()).toEqual(['loss_by_rank.csv', 'memory_by_rank.csv', 'rank_threshold.csv']);
    expect(rows('diagnosis/verdicts').map(({ hypothesis }) => String(hypothesis).slice(0, 2))).toEqual([
      'H1',
      'H2',
      'H2',
      'H3',
    ]);
    const links = [...project.read('results/diagnostic/report.md').matchAll(/\]\(((?:figures|tables)\/[^)]+)\)/g)];
    expect(links.length).toBeGreaterThan(20);
    expect(links.filter(([, path]) => !existsSync(join(project.root, 'results/diagnostic', path!)))).toEqual([]);
    for (const page of ['report.html', 'report.md']) expect(project.read(`results/diagnostic/${page}`)).toContain('H3');
    for (const part of ['quantization-impact', 'rank-threshold']) {
      for (const name of tables(part)) {
        expect(existsSync(join(project.root, 'results/diagnostic/tables', part, name.replace('.csv', '.md')))).toBe(
          true,
        );
      }
    }
  });

  test('finds a repeat equal to the bit, and every other control further away', () => {
    const ladder = rows('quantization-impact/ladder');
    const [repeat, ...others] = ladder;
    expect(repeat).toMatchObject({ control: 'repeat', l2: 0, token_match: 1, kl: 0, loss_change: 0 });
    expect(others.map(({ control }) => control)).toEqual(['order', 'init', 'both', 'nf4', 'nf4-single']);
    for (const { l2, cosine } of others) {
      expect(l2).toBeGreaterThan(0);
      expect(cosine).toBeLessThan(1);
    }
  });

  test('repeated, has nothing to do; its parts have nothing left but to show what is known', async () => {
    expect((await project.run(request('diagnostic'))).executed).toEqual([]);
    const left: Record<string, readonly string[]> = {};
    for (const part of parts) left[part] = (await project.run(request(part))).executed;
    expect(left).toEqual({ 'quantization-impact': [], 'layer-sensitivity': ['report'], 'rank-threshold': [] });
  });

  test('gives the same again, times of steps and all', async () => {
    const timed = ['time-rank', 'time-targets', 'step-times-rank', 'step-times-targets'];
    const { code, stdout } = await project.pipe(['verify', '--rerun', ...request('diagnostic'), ...timed, '--json']);
    const results = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { outcome: string });
    // Two ranks and two sets of matrices, timed and read.
    expect({ code, outcomes: results.map(({ outcome }) => outcome) }).toEqual({
      code: 0,
      outcomes: Array(8).fill('same'),
    });
    for (const { lora_ms } of rows('quantization-impact/step_time')) expect(lora_ms).toBeGreaterThan(0);
  });

  test('the pipelines share 60 % of their tasks and more', async () => {
    const keys = await Promise.all(
      ['diagnostic', ...parts].map(async (part) => {
        const { stdout } = await project.pipe(['status', ...request(part), '--json']);
        return (JSON.parse(stdout) as { tasks: { key: string }[] }).tasks.map(({ key }) => key);
      }),
    );
    const shared = keys.map(
      (own, i) => own.filter((key) => keys.some((other, j) => i !== j && other.includes(key))).length,
    );
    const all = keys.reduce((sum, own) => sum + own.length, 0);
    expect(shared.reduce((a, b) => a + b) / all).toBeGreaterThanOrEqual(0.6);
  });

  test('another rank trains that rank alone, another seed that seed alone', async () => {
    const counts = ({ executed }: Told) => {
      const found: Record<string, number> = {};
      for (const task of executed) found[task.replace(/\[.*/, '')] = (found[task.replace(/\[.*/, '')] ?? 0) + 1;
      return found;
    };
    const rank = await project.run(request('diagnostic', { ranks: '[2, 4, 8]' }));
    expect(rank.executed.filter((task) => task.includes('[')).every((task) => task.includes('rank=8'))).toBe(true);
    // Two precisions and two seeds; one pair of LoRA seeds; what has no axis reads the whole list again.
    expect(counts(rank)).toEqual({
      'train-rank': 4,
      'evaluate-rank': 4,
      'evaluate-rank-noise': 1,
      'adapters-rank': 2,
      'time-rank': 1,
      'step-times-rank': 1,
      impact: 1,
      ranks: 1,
      diagnosis: 1,
      'plot-impact': 1,
      'plot-ranks': 1,
      'diagnostic-report': 1,
    });

    const seed = await project.run(request('diagnostic', { seeds: '[1, 2, 3]' }));
    expect(seed.executed.filter((task) => task.includes('[')).every((task) => task.includes('seed=3'))).toBe(true);
    // 2 targets and 2 ranks in 2 precisions, of which those of q+v at rank 2 are one; of 7 controls reference and nf4 are these too.
    const trained = Object.entries(counts(seed)).reduce(
      (sum, [stage, n]) => sum + (stage.startsWith('train') ? n : 0),
      0,
    );
    expect(trained).toBe(2 * 2 + 2 * 2 - 2 + 7 - 2);
  });
});
