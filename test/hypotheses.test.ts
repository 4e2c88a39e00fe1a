/** The verdicts on H1 and H3: their rules case by case, and whole analyses of synthetic runs with known answers. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromCSV } from 'arquero';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Member } from '../engine/stage.ts';
import { Random } from '../model/random.ts';
import type { Estimate } from '../stages/compare/results.ts';
import { gapsOf } from '../stages/impact/gaps.ts';
import type { Study } from '../stages/impact/inputs.ts';
import { swapsTable } from '../stages/impact/swaps.ts';
import { type ImpactRule, judgeImpact } from '../stages/impact/verdict.ts';
import type { RankRuns } from '../stages/rank-threshold/inputs.ts';
import { matchGain } from '../stages/rank-threshold/measure.ts';
import { judgeRanks, smallestRank } from '../stages/rank-threshold/verdict.ts';
import rankThreshold from '../stages/rank-threshold.ts';
import type { Evaluation } from '../stages/shared/evaluation.ts';
import type { Findings } from '../stages/shared/findings.ts';
import { openWorkshop, type Workshop } from './support/stages.ts';
import { writeCurve, writeSummary } from './support/study.ts';

const between = (low: number, high: number): Estimate => ({ value: (low + high) / 2, interval: { low, high } });
const unknown: Estimate = { value: 0.99, interval: null };

describe('the rule of H1', () => {
  const rule: ImpactRule = { hypothesis: '', threshold: 0.95, tolerance: 1, confidence: 0.95 };
  it.each([
    ['alike and harmless', between(0.96, 0.98), between(-0.5, 0.5), between(0.1, 0.2), 'supported'],
    ['alike on average only', between(0.94, 0.98), between(-0.5, 0.5), between(0.1, 0.2), 'partly'],
    ['not alike, but no further than another seed', between(0.5, 0.6), between(-0.5, 0.5), between(0.8, 1.3), 'partly'],
    ['not alike, and further than another seed', between(0.5, 0.6), between(-0.5, 0.5), between(1.1, 1.3), 'rejected'],
    ['alike, and it costs', between(0.96, 0.98), between(0.5, 1.5), between(0.1, 0.2), 'rejected'],
    ['without intervals nothing is known', unknown, unknown, unknown, 'rejected'],
  ] as const)('%s', (_, cosine, drop, ratio, outcome) => {
    expect(judgeImpact({ cosine, drop, ratio, saved: 0 }, rule)).toBe(outcome);
  });
});

describe('the rule of H3', () => {
  const ranks = (...lows: number[]) =>
    lows.map((low, i) => ({
      rank: 2 ** (i + 1),
      tokenMatch: between(low, low + 0.02),
      embeddingCosine: between(0.97, 0.99),
    }));
  it('takes the smallest rank from which every larger one meets the threshold', () => {
    const star = (...lows: number[]) => smallestRank(ranks(...lows), { threshold: 0.95 });
    expect(star(0.9, 0.96, 0.97)).toBe(4);
    expect(star(0.96, 0.9, 0.97)).toBe(8);
    expect(star(0.96, 0.96, 0.97)).toBe(2);
    expect(star(0.96, 0.96, 0.94)).toBeNull();
    expect(
      smallestRank([{ rank: 2, tokenMatch: between(0.96, 0.98), embeddingCosine: null }], { threshold: 0.95 }),
    ).toBeNull();
  });

  it.each([
    [4, between(0.01, 0.02), 'supported'],
    [4, between(-0.01, 0.02), 'rejected'],
    [null, between(0.01, 0.02), 'partly'],
    [null, between(-0.01, 0.02), 'rejected'],
    [2, between(0.01, 0.02), 'rejected'],
    [4, unknown, 'rejected'],
  ] as const)('r* %j and a gain of %j: %s', (star, gain, outcome) => {
    expect(judgeRanks(star, 2, gain)).toBe(outcome);
  });
});

/** An evaluation whose examples agree with the reference at about the given rate: effects of seed, example and both. */
function evaluation(rate: number, random: Random, easy: readonly number[], tokens: readonly number[]): Evaluation {
  const seed = 0.004 * random.normal();
  const agreement = easy.map((effect) => Math.min(1, Math.max(0, rate + seed + effect + 0.01 * random.normal())));
  const loss = easy.map((effect) => 2 - 5 * effect);
  return {
    loss: 2,
    tokens: tokens.reduce((a, b) => a + b),
    examples: tokens.length,
    perplexity: null,
    uniformLoss: null,
    top1Agreement: rate,
    kl: 1 - rate,
    greedyMatch: null,
    firstDivergence: null,
    embeddingCosine: rate,
    lossPerExample: loss,
    tokensPerExample: tokens,
    agreementPerExample: agreement,
    klPerExample: agreement.map((share) => 1.01 - share),
    cosinePerExample: agreement.map((share) => (1 + share) / 2),
    agreementByMargin: [{ from: 0, to: null, tokens: 10, agreed: 9 }],
  };
}

function runsAt(rate: number, trial: number, rank = 2): RankRuns {
  const random = new Random(trial, `rank ${rank}`);
  const shared = new Random(trial, 'examples');
  const easy = Array.from({ length: 40 }, () => 0.01 * shared.normal());
  const tokens = easy.map(() => 5 + shared.integer(20));
  const draw = () => Array.from({ length: 5 }, () => evaluation(rate, random, easy, tokens));
  const numbers = { lora: 1, qlora: 1 };
  return {
    rank,
    lora: draw(),
    qlora: draw(),
    noise: null,
    memory: numbers,
    training: { lora: [1], qlora: [1] },
    steps: 3,
  };
}

const how = { confidence: 0.95, resamples: 200, seed: 1 };

describe('a gain by rank', () => {
  it('is not found in noise more often than stated, and found where it was put', () => {
    const trials = 200;
    let [noise, planted] = [0, 0];
    for (let trial = 0; trial < trials; trial++) {
      const low = runsAt(0.9, trial, 2);
      if (matchGain(runsAt(0.9, trial, 8), low, how).interval!.low > 0) noise++;
      if (matchGain(runsAt(0.92, trial, 8), low, how).interval!.low > 0) planted++;
    }
    // One side of 95 %: 2.5 % is stated, with a standard error of 1.1 % over 200 trials.
    expect(noise / trials).toBeLessThan(0.06);
    expect(planted / trials).toBeGreaterThan(0.9);
  });
});

describe('gaps in units of the gap between seeds', () => {
  /** A study in which the method's gap in token match is `ratio` times that of another seed. */
  function study(ratio: number, trial: number): Study {
    const grids = { nf4: 1 - 0.1 * ratio, both: 0.9, reference: 1 };
    const random = new Random(trial, 'controls');
    const easy = Array.from({ length: 40 }, () => 0.005 * random.normal());
    const tokens = easy.map(() => 5 + random.integer(20));
    const runs = new Map(
      Object.entries(grids).map(([control, rate]) => [
        control,
        Array.from({ length: 5 }, () => evaluation(rate, random, easy, tokens)),
      ]),
    );
    const names = {
      control: 'control',
      seed: 'seed',
      reference: 'reference',
      method: 'nf4',
      otherSeed: 'both',
      repeat: 'repeat',
    };
    const grid = {
      values: [...runs.keys()],
      seeds: ['1', '2', '3', '4', '5'],
      of: (control: string) => runs.get(control)!,
    };
    const none = { ...grid, of: () => [{ families: [{ cosine: null, relative: null }] }] };
    return { names, seeds: grid.seeds, evaluations: grid, adapters: none } as unknown as Study;
  }
  const found = (ratio: number, trial: number) =>
    gapsOf(study(ratio, trial), ['both'], how).find(({ measure }) => measure.name === 'token_match')!.ratio!;

  it('are found as planted, and equal gaps are not told apart more often than stated', () => {
    const trials = 150;
    let [apart, smaller] = [0, 0];
    for (let trial = 0; trial < trials; trial++) {
      const { interval } = found(1, trial);
      if (interval!.low > 1 || interval!.high < 1) apart++;
      if (found(0.6, trial).interval!.high < 1) smaller++;
    }
    // 5 % is stated, with a standard error of 1.8 % over 150 trials.
    expect(apart / trials).toBeLessThan(0.1);
    expect(smaller / trials).toBeGreaterThan(0.95);
    expect(found(0.6, 1).value).toBeCloseTo(0.6, 1);
  });
});

describe('what the swap of two adapters costs', () => {
  it('is told against the adapter that was trained on the base, whatever the base itself loses', () => {
    const random = new Random(1, 'swaps');
    const tokens = Array.from({ length: 40 }, () => 5 + random.integer(20));
    const easy = tokens.map(() => 0.3 * random.normal());
    const runs = (more: number) =>
      Array.from({ length: 5 }, () => {
        const one = evaluation(0.9, random, easy, tokens);
        const lossPerExample = easy.map((effect) => 2 + effect + more + 0.01 * random.normal());
        return { ...one, lossPerExample };
      });
    const grid = (values: Record<string, readonly Evaluation[]>) => ({
      values: Object.keys(values),
      of: (value: string) => values[value]!,
    });
    // The NF4 base loses 0.3; LoRA's adapter is as good on it as its own. QLoRA's adapter costs the 16-bit base 0.02.
    const study = {
      names: { reference: 'reference', method: 'nf4' },
      seeds: ['1', '2', '3', '4', '5'],
      evaluations: grid({ reference: runs(0), nf4: runs(0.3) }),
      ablations: grid({ 'lora-on-nf4': runs(0.3), 'qlora-on-bf16': runs(0.02) }),
    } as unknown as Study;
    const { columns, rows } = swapsTable(study, how)!;
    const cell = (row: number, name: string) =>
      rows[row]![columns.findIndex((column) => column.name === name)] as number;
    expect(rows.map(([base, own, other]) => [base, own, other])).toEqual([
      ['bf16', 'LoRA', 'QLoRA'],
      ['nf4', 'QLoRA', 'LoRA'],
    ]);
    expect(cell(0, 'difference')).toBeCloseTo(0.02, 2);
    expect(cell(0, 'difference_low')).toBeGreaterThan(0);
    expect(Math.abs(cell(1, 'difference'))).toBeLessThan(0.01);
    expect(cell(1, 'difference_low') * cell(1, 'difference_high')).toBeLessThan(0);
    expect(swapsTable({ ...study, ablations: grid({}) } as unknown as Study, how)).toBeNull();
  });
});

describe('the stage rank-threshold', () => {
  let shop: Workshop;
  beforeAll(() => {
    shop = openWorkshop();
  });
  afterAll(() => shop.remove());

  /** Files of a study in which QLoRA matches LoRA at the given rate, rank by rank. */
  function inputs(name: string, rates: Record<number, number>) {
    const folder = join(shop.folder, name);
    mkdirSync(folder);
    const members = {
      metrics: [] as Member[],
      noise: [] as Member[],
      summaries: [] as Member[],
      curves: [] as Member[],
    };
    for (const [rank, rate] of Object.entries(rates).map(([rank, rate]) => [Number(rank), rate] as const)) {
      const runs = runsAt(rate, 1, rank);
      const others = runsAt(0.93, 2, rank);
      const put = (kind: keyof typeof members, axes: Member['axes'], write: (path: string) => void) => {
        const path = join(folder, `${kind}-${Object.values(axes).join('-')}`);
        write(path);
        members[kind].push({ path, axes });
      };
      for (const [i, seed] of [1, 2, 3, 4, 5].entries()) {
        for (const [precision, list] of [
          ['bf16', runs.lora],
          ['nf4', runs.qlora],
        ] as const) {
          const axes = { rank, precision, seed };
          put('metrics', axes, (path) => writeFileSync(path, JSON.stringify(list[i])));
          put('summaries', axes, (path) => writeSummary(path, precision === 'nf4' ? 1e6 : 3e6, 1000 * rank));
          put('curves', axes, (path) => writeCurve(path, 2, seed));
        }
        if (i > 0) {
          const noise = { ...others.lora[i]!, tokensPerExample: runs.qlora[0]!.tokensPerExample };
          put('noise', { rank, seed }, (path) => writeFileSync(path, JSON.stringify(noise)));
        }
      }
    }
    return members;
  }
  const judge = async (name: string, rates: Record<number, number>) => {
    const { outputs } = await shop.run(rankThreshold, { params: { hypothesis: 'H3' }, inputs: inputs(name, rates) });
    const found = JSON.parse(readFileSync(outputs.results!, 'utf8')) as Findings & { r_star: number | null };
    const table = fromCSV(readFileSync(join(outputs.tables!, 'rank_threshold.csv'), 'utf8'));
    return {
      star: found.r_star,
      outcome: found.verdicts[0]!.outcome,
      rows: table.objects() as Record<string, unknown>[],
    };
  };

  it('finds the rank that was put there, and says so in its table', async () => {
    const { star, outcome, rows } = await judge('planted', { 2: 0.9, 4: 0.975, 16: 0.98 });
    expect({ star, outcome }).toEqual({ star: 4, outcome: 'supported' });
    expect(rows.map(({ rank, threshold_met }) => [rank, threshold_met])).toEqual([
      [2, 'no'],
      [4, 'yes'],
      [16, 'yes'],
    ]);
    expect(rows.every(({ gap_ratio_low }) => typeof gap_ratio_low === 'number')).toBe(true);
  });

  it('rejects where every rank is enough, and where none is and rank makes no difference', async () => {
    expect(await judge('enough', { 2: 0.975, 8: 0.975 })).toMatchObject({ star: 2, outcome: 'rejected' });
    expect(await judge('never', { 2: 0.8, 8: 0.8 })).toMatchObject({ star: null, outcome: 'rejected' });
    expect(await judge('rising', { 2: 0.8, 8: 0.9 })).toMatchObject({ star: null, outcome: 'partly' });
  });

  it('names a seed that is missing', async () => {
    const all = inputs('missing', { 2: 0.9 });
    const lacking = { ...all, metrics: all.metrics.filter(({ axes }) => axes.precision !== 'nf4' || axes.seed !== 3) };
    const run = shop.run(rankThreshold, { params: { hypothesis: 'H3' }, inputs: lacking });
    await expect(run).rejects.toThrow(
      '"metrics" with precision nf4 has the seeds 1, 2, 4, 5, and others have 1, 2, 3, 4, 5',
    );
  });
});
