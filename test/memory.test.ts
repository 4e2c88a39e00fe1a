/** The stage memory: plans beside formulas that are counted by hand here, and beside a run. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromCSV } from 'arquero';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { writeCheckpoint } from '../model/checkpoint.ts';
import { exampleSplit, writeDataset } from '../model/dataset.ts';
import { initialWeights } from '../model/initial.ts';
import { namedShapes, parameterCounts } from '../model/shapes.ts';
import memory from '../stages/memory.ts';
import train from '../stages/train.ts';
import { openWorkshop, type Workshop } from './support/stages.ts';

const config = { vocabSize: 96, contextLength: 32, width: 64, layers: 2, heads: 2, epsilon: 1e-5 };

type Row = Readonly<Record<string, string | number>>;
const rowsOf = (folder: string, name: string) =>
  fromCSV(readFileSync(join(folder, `${name}.csv`), 'utf8')).objects() as Row[];

function toyModel({ folder }: Workshop): string {
  const model = join(folder, 'model');
  writeCheckpoint(model, { config, weights: initialWeights(config, 1) }, 'BF16');
  return model;
}

test('named shapes have the parameters that they are called by', () => {
  const millions = Object.fromEntries(
    Object.entries(namedShapes).map(([name, shape]) => [name, Math.round(parameterCounts(shape).all / 1e6)]),
  );
  // GPT-2 as Hugging Face counts it: 124, 355, 774 and 1558 million.
  expect(millions).toMatchObject({ gpt2: 124, 'gpt2-medium': 355, 'gpt2-large': 774, 'gpt2-xl': 1558 });
  expect(millions).toMatchObject({ 'gpt-1b': 1014, 'gpt-7b': 6658, 'gpt-13b': 12853, 'gpt-65b': 64862 });
});

describe('planned memory', () => {
  let tables: string;
  let figures: string;
  beforeAll(async () => {
    const workshop = openWorkshop();
    const params = {
      name: 'toy',
      shapes: ['gpt2'],
      ranks: [2, 4],
      published: [{ rank: 4, lora_mb: 200, qlora_mb: 50 }],
    };
    const { outputs } = await workshop.run(memory, { params, inputs: { model: toyModel(workshop) } });
    tables = outputs.tables!;
    figures = outputs.figures!;
    return workshop.remove;
  });

  test('stands beside the formulas, with GPT-2 counted by hand', () => {
    const rows = rowsOf(tables, 'memory_comparison').filter(({ model }) => model === 'gpt2');
    const [full, lora, qlora] = rows as [Row, Row, Row];
    const matrices = 12 * 12 * 768 ** 2;
    const p = 50257 * 768 + 1024 * 768 + matrices + 12 * 13 * 768 + 2 * 768;
    const adapters = 12 * 2 * 2 * 8 * 768;
    expect(full.formula_mb).toBeCloseTo((12 * p) / 1e6, 6);
    expect(lora.formula_mb).toBeCloseTo((2 * p + 24 * 24 * 8 * 768) / 1e6, 6);
    expect(qlora.formula_mb).toBeCloseTo((0.52 * p + 24 * 24 * 8 * 768) / 1e6, 6);
    // Every tensor fills whole cache lines: nothing is padded.
    expect([full.weights_mb, full.optimizer_mb]).toEqual([(4 * p) / 1e6, (8 * p) / 1e6]);
    expect([lora.weights_mb, lora.adapters_mb, lora.optimizer_mb]).toEqual(
      [2 * p, 4 * adapters, 8 * adapters].map((bytes) => bytes / 1e6),
    );
    // Two codebooks and an offset a matrix; nested scales of c_attn (432 bytes) and attn.c_proj (144) end inside a cache line.
    const shared = 12 * (4 * (64 + 1024 + 64) + 16 + 48);
    const exact = 2 * (p - matrices) + (0.5 + 1 / 64 + 4 / 16384) * matrices + shared;
    expect(qlora.weights_mb).toBeCloseTo(exact / 1e6, 4);
    // On one token a plan holds little but what the formula counts, the float32 gradients of full fine-tuning aside.
    expect(full.planned_mb).toBeGreaterThan((16 * p) / 1e6 - 154.4);
    expect(lora.ratio).toBeLessThan(1.06);
    for (const row of rows) expect(row.step_mb).toBeGreaterThan(row.planned_mb as number);
  });

  test('by rank shows the reduction, and what others published where they did', () => {
    const rows = rowsOf(tables, 'memory_by_rank');
    expect(rows.map(({ rank }) => rank)).toEqual([2, 4]);
    for (const { lora_mb, qlora_mb, reduction_percent } of rows as Record<string, number>[])
      expect(reduction_percent).toBeCloseTo(100 * (1 - qlora_mb! / lora_mb!), 9);
    expect(rows.map(({ published_reduction_percent }) => published_reduction_percent)).toEqual(['n/a', '75']);
    expect(existsSync(join(tables, 'memory_runs.csv'))).toBe(false);
  });

  test('is drawn', () => {
    const svg = readFileSync(join(figures, 'memory_comparison.svg'), 'utf8');
    for (const word of ['toy', 'gpt2', 'QLoRA', 'full fine-tuning']) expect(svg).toContain(word);
  });
});

test('what is planned for a run is what it took, to the byte', async () => {
  const workshop = openWorkshop();
  onTestFinished(workshop.remove);
  const model = toyModel(workshop);
  const data = join(workshop.folder, 'data');
  const example = { tokens: Int32Array.of(5, 6, 7, 8, 9), promptLength: 2 };
  const split = exampleSplit([example, example, example, example]);
  const meta = { vocabSize: 96, endOfText: 0, maxLength: 20, seed: 1, dropped: 0, truncated: 0 };
  writeDataset(data, { meta, splits: { train: split, validation: split } });
  const params = { targets: 'q+proj', rank: 3, steps: 1, warmup: 0, batch: 2 };
  const summaryOf = async (how: object) =>
    (await workshop.run(train, { params: { ...params, ...how }, inputs: { base: model, data } })).outputs.summary!;
  const runs = [
    { path: await summaryOf({}), axes: { precision: 'bf16' } },
    { path: await summaryOf({ paged_optimizer: 'all' }), axes: { paged: 'all' } },
  ];
  const planned = await workshop.run(memory, { params: { shapes: [] }, inputs: { model, runs } });
  const [row, ofPaged] = rowsOf(planned.outputs.tables!, 'memory_runs');
  expect(row).toMatchObject({ run: 'precision=bf16', difference_bytes: 0 });
  expect(row!.taken_mb).toBe(JSON.parse(readFileSync(runs[0]!.path, 'utf8')).memory.total / 1e6);
  // What lies on the host is counted too.
  expect(ofPaged).toMatchObject({ run: 'paged=all', difference_bytes: 0 });
});

test('figures that are not three numbers are refused', async () => {
  const workshop = openWorkshop();
  onTestFinished(workshop.remove);
  const params = { shapes: [], published: [{ rank: 4, lora_mb: 'much' }] };
  await expect(workshop.run(memory, { params, inputs: { model: toyModel(workshop) } })).rejects.toThrow(
    'must have three numbers',
  );
});
