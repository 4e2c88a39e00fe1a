/** `pipe advise` and the stages behind it: what fits, exactly, and what has been measured. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { plannedPeak } from '../compile/memory.ts';
import type { Rematerialization } from '../compile/passes/rematerialize.ts';
import { namedShapes } from '../model/shapes.ts';
import { loraTrainingStep, lossStep } from '../model/steps.ts';
import advise from '../stages/advise.ts';
import type { Fits } from '../stages/fit/fits.ts';
import fit from '../stages/fit.ts';
import { largestWithin } from '../stages/shared/largest.ts';
import { type CommandProject, openProjectFolder } from './support/checkout.ts';
import { openWorkshop } from './support/stages.ts';

test('the largest number within a limit is that of a search one by one, whatever the costs', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 40 }),
      fc.nat(20_000),
      (steps, limit) => {
        const costs = steps.map((_, i) => steps.slice(0, i + 1).reduce((sum, step) => sum + step, 0));
        const within = costs.filter((cost) => cost <= limit).length;
        expect(largestWithin((n) => costs[n - 1]!, limit, costs.length)).toBe(within);
      },
    ),
  );
});

test('a dozen questions are enough where costs are nearly in proportion', () => {
  let questions = 0;
  const cost = (n: number) => {
    questions++;
    return 700 + 37 * n + (n % 3);
  };
  expect(largestWithin(cost, 700 + 37 * 612 + 2, 1024)).toBe(612);
  expect(questions).toBeLessThan(12);
});

describe('fit', () => {
  const fitted = async (params: Record<string, string | number | number[]>) => {
    const workshop = openWorkshop();
    onTestFinished(workshop.remove);
    const { outputs } = await workshop.run(fit, { params });
    return JSON.parse(readFileSync(outputs.fits!, 'utf8')) as Fits;
  };

  /** What train's two programs take, planned here. */
  const taken = (batch: number, precision: string, rank: number, rematerialize: Rematerialization): number => {
    const config = namedShapes.gpt2;
    const matrix =
      precision === 'bf16'
        ? ({ kind: 'dense', storage: 'bf16' } as const)
        : ({ kind: 'nf4', block: 64, doubleQuantization: true } as const);
    const sizes = {
      config,
      matrices: () => matrix,
      lora: { rank, alpha: 1, targets: ['q', 'v'] as const },
      batch,
      length: 96,
    };
    const adamw = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0, maxNorm: 1 };
    const trains = loraTrainingStep({ ...sizes, dropout: { rate: 0, seed: 1 }, adamw });
    const training = plannedPeak('train', trains, { gpu: 'bf16', rematerialize }).total;
    return training + plannedPeak('loss', lossStep(sizes), { gpu: 'bf16' }).total;
  };

  test('finds the batch after which one sequence more would be too much, to the byte', async () => {
    const memory = 1_500_000_000;
    const { candidates } = await fitted({ model: 'gpt2', memory, length: 96, ranks: [4, 64], targets: 'qv' });
    expect(candidates.map(({ precision, rematerialize, rank }) => `${precision} ${rematerialize} ${rank}`)).toEqual([
      'bf16 none 4',
      'bf16 none 64',
      'bf16 block 4',
      'bf16 block 64',
      'nf4 none 4',
      'nf4 none 64',
      'nf4 block 4',
      'nf4 block 64',
    ]);
    for (const { precision, rematerialize, rank, batch, takes, next } of candidates) {
      expect(takes.total).toBe(taken(batch, precision, rank, rematerialize));
      expect(next).toBe(taken(batch + 1, precision, rank, rematerialize));
      expect(takes.total).toBeLessThanOrEqual(memory);
      expect(next).toBeGreaterThan(memory);
      expect(takes.total).toBe(takes.training + takes.heldOut);
    }
  });

  test('says what a single sequence takes where none fits, and asks for no longer rows than the context', async () => {
    const { length, candidates } = await fitted({ model: 'gpt2-xl', memory: 1_000_000, length: 5000, ranks: [8] });
    expect(length).toBe(1024);
    for (const { batch, takes } of candidates) {
      expect(batch).toBe(0);
      expect(takes.total).toBeGreaterThan(1e9);
    }
  });
});

describe('advise', () => {
  const footprint = { training: 5e9, heldOut: 1e9, total: 6e9, optimizer: 1e7, paged: 0 };
  const fits: Fits = {
    model: 'gpt2-medium',
    shape: { layers: 24, width: 1024, vocabSize: 50257 },
    memory: 8e9,
    targets: ['q', 'v'],
    length: 512,
    candidates: [
      { precision: 'bf16', rematerialize: 'none', rank: 8, batch: 11, takes: footprint, next: 9e9 },
      { precision: 'nf4', rematerialize: 'none', rank: 8, batch: 13, takes: footprint, next: 9e9 },
      { precision: 'nf4', rematerialize: 'block', rank: 16, batch: 0, takes: { ...footprint, total: 9e9 }, next: 9e9 },
    ],
  };
  const header = 'configuration,precision,seed,base,adapted,adapter_rank,loss';
  const row = (precision: string, rank: number, loss: number, base = '24 layers x 1024') =>
    `q+v,${precision},1,"${base}, vocabulary 50257",q+v,${rank},${loss}`;

  const ask = async (tables: Record<string, readonly string[]> | null) => {
    const workshop = openWorkshop();
    onTestFinished(workshop.remove);
    const path = join(workshop.folder, 'fits.json');
    writeFileSync(path, JSON.stringify(fits));
    const results = join(workshop.folder, 'results');
    for (const [name, rows] of Object.entries(tables ?? {})) {
      mkdirSync(join(results, name, 'tables'), { recursive: true });
      writeFileSync(join(results, name, 'tables', 'runs.csv'), `${[header, ...rows].join('\n')}\n`);
    }
    const params = { results: tables === null ? '' : results };
    const { outputs } = await workshop.run(advise, { params, inputs: { fits: path } });
    const json = JSON.parse(readFileSync(outputs.json!, 'utf8')) as { candidates: { quality: unknown }[] };
    return { text: readFileSync(outputs.text!, 'utf8'), qualities: json.candidates.map(({ quality }) => quality) };
  };

  test('shows what runs of a base of that shape, with those adapters, have measured', async () => {
    const { text, qualities } = await ask({
      study: [row('bf16', 8, 2), row('bf16', 8, 2.2), row('nf4', 8, 2.1), row('nf4', 8, 2.121), row('nf4', 4, 9)],
      older: [row('nf4', 8, 7)],
      tiny: [row('nf4', 8, 1, '4 layers x 128'), row('nf4', 16, 1, '4 layers x 128')],
    });
    const table = 'results/study/tables/runs.csv';
    expect(qualities).toEqual([
      { loss: 2.1, runs: 2, changePercent: null, table },
      { loss: expect.closeTo(2.1105, 12), runs: 2, changePercent: expect.closeTo(0.5, 9), table },
      null,
    ]);
    expect(text).toMatch(/^nf4 +none +8 +13 .* 2\.1105 \+0\.50%$/m);
    expect(text).toMatch(/^nf4 +block +16 +none .* -1\.00 +not run$/m);
    expect(text).toContain(table);
  });

  test('says what paging the optimizer would free, and where that is a sequence more', async () => {
    const { text } = await ask(null);
    // One more would take 9 GB, and the moments are 0.01.
    expect(text.replace(/\s+/g, ' ')).toContain('frees 0.010 GB, room for one sequence more in none of these 3');
  });

  test('says so where nothing is known', async () => {
    expect((await ask(null)).text).toContain('no results yet, so nothing is known');
    const { text, qualities } = await ask({ tiny: [row('nf4', 8, 1, '4 layers x 128')] });
    expect(text.replace(/\s+/g, ' ')).toContain('no run in results/ has a base of this shape');
    expect(qualities).toEqual([null, null, null]);
  });

  test('fits 80 columns', async () => {
    const { text } = await ask({ study: [row('bf16', 8, 2), row('nf4', 8, 2.1)] });
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });
});

describe('the command', () => {
  let project: CommandProject;
  beforeAll(() => {
    project = openProjectFolder({ 'package.json': '{}' });
  });
  afterAll(() => project.remove());

  test('answers in any project, and publishes nothing', async () => {
    const request = [
      'advise',
      '--model',
      'gpt2',
      '--memory',
      '1.5GB',
      '--targets',
      'qv',
      '--rank',
      '4',
      '--length',
      '64',
    ];
    const { code, stdout, stderr } = await project.pipe(request);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(
      /^gpt2: 12 layers x 768, vocabulary 50257\nAdapters on q\+v, sequences of 64 tokens, 1\.50 GB/,
    );
    const json = JSON.parse((await project.pipe([...request, '--json'])).stdout) as Fits;
    expect(json.candidates.map(({ precision, rematerialize, rank }) => [precision, rematerialize, rank])).toEqual([
      ['bf16', 'none', 4],
      ['bf16', 'block', 4],
      ['nf4', 'none', 4],
      ['nf4', 'block', 4],
    ]);
    expect(existsSync(join(project.root, 'results'))).toBe(false);
  });

  test.each([
    [['--model', 'gpt2-medum', '--memory', '8GB'], 2, /must be one of gpt2, .* did you mean "gpt2-medium"/s],
    [['--memory', 'plenty'], 2, /--memory plenty is not a size\n {2}write 8GB/],
    [[], 2, /required option '--memory <size>'/],
    [['--memory', '8GB', '--results', 'absent'], 2, /--results absent does not exist/],
    [['--memory', '8GB', '--targets', 'values'], 1, /'values' names no matrices/],
  ])('%j is refused', async (options, code, message) => {
    const ended = await project.pipe(['advise', ...options]);
    expect(ended.code).toBe(code);
    expect(ended.stderr.replace(/'values' in 'values'/, "'values'")).toMatch(message);
  });
});
