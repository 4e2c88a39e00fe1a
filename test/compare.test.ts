/** The stage compare through its door: numbers computed by hand, what it writes, and what it refuses. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromCSV } from 'arquero';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Json, Member } from '../engine/stage.ts';
import type { Results } from '../stages/compare/results.ts';
import compare from '../stages/compare.ts';
import { openWorkshop, type StageRun, type Workshop } from './support/stages.ts';
import { exampleLosses, raised, type Study, writeMetrics, writeStudy, writeSummary } from './support/study.ts';

let shop: Workshop;
let files = 0;
beforeAll(() => {
  shop = openWorkshop();
});
afterAll(() => shop.remove());

const path = () => join(shop.folder, `${files++}.json`);
const resultsOf = ({ outputs }: StageRun) => JSON.parse(readFileSync(outputs.results!, 'utf8')) as Results;
const csvOf = ({ outputs }: StageRun, name: string) =>
  fromCSV(readFileSync(join(outputs.tables!, `${name}.csv`), 'utf8')).objects() as Record<string, unknown>[];
const markdownOf = ({ outputs }: StageRun, name: string) => readFileSync(join(outputs.tables!, `${name}.md`), 'utf8');

/** A member whose examples all have one loss. */
function run(axes: Record<string, Json>, loss: number, tokens?: number[]): Member {
  const lossPerExample = Array.from({ length: 10 }, () => loss);
  return { path: writeMetrics(path(), { lossPerExample, loss, ...(tokens && { tokensPerExample: tokens }) }), axes };
}

/** Losses of (targets, precision) over seeds 1, 2, 3. */
function grid(losses: Record<string, Record<string, number[]>>): Member[] {
  return Object.entries(losses).flatMap(([targets, byPrecision]) =>
    Object.entries(byPrecision).flatMap(([precision, values]) =>
      values.map((loss, i) => run({ targets, precision, seed: i + 1 }, loss)),
    ),
  );
}

describe('the trained grid', () => {
  it('pairs drops by seed: mean, deviation and interval are those computed by hand', async () => {
    // Drops of q: 1, 2, 3 %: mean 2, deviation 1, half width 4.302652729749464 / sqrt(3). Drops of v: 5 % each.
    const metrics = grid({
      q: { bf16: [2, 4, 5], nf4: [2.02, 4.08, 5.15] },
      v: { bf16: [2, 4, 5], nf4: [2.1, 4.2, 5.25] },
    });
    const [q, v] = resultsOf(await shop.run(compare, { inputs: { metrics } })).configurations;
    expect(q!.label).toBe('q');
    expect(q!.pairs.map((pair) => pair.drop)).toEqual([1, 2, 3].map((drop) => expect.closeTo(drop, 10)));
    expect(q!.drop.value).toBeCloseTo(2, 10);
    expect(q!.deviation).toBeCloseTo(1, 10);
    expect(q!.drop.interval!.low).toBeCloseTo(2 - 2.48413771175, 8);
    expect(q!.drop.interval!.high).toBeCloseTo(2 + 2.48413771175, 8);
    expect(q!.standing).toBe('best');
    // v - q, paired: 4, 3, 2: mean 3, half width 2.484: above zero.
    expect(v!.standing).toBe('behind');
  });

  it('calls nothing best where the seeds cannot tell: those are tied', async () => {
    const metrics = grid({
      q: { bf16: [2, 2, 2], nf4: [2.02, 2.04, 2.06] },
      v: { bf16: [2, 2, 2], nf4: [2.06, 2.03, 2.04] },
    });
    const made = await shop.run(compare, { inputs: { metrics } });
    expect(csvOf(made, 'performance').map((row) => row.best)).toEqual(['tied for best', 'tied for best']);
  });

  it('asks more of a difference the more pairs there are, because the best is chosen from them', async () => {
    // v - q, paired: 0.7, 1, 1.3 %: mean 1, standard error 0.173, t 5.77: beyond the 4.30 of 5 % for one pair, short of the 7.65 of
    // 5 % for three pairs (two-sided, 2 degrees of freedom).
    const two = {
      q: { bf16: [2, 2, 2], nf4: [2, 2, 2] },
      v: { bf16: [2, 2, 2], nf4: [2.014, 2.02, 2.026] },
    };
    const three = { ...two, o: { bf16: [2, 2, 2], nf4: [2.2, 2.2, 2.2] } };
    const standings = async (losses: Record<string, Record<string, number[]>>) =>
      csvOf(await shop.run(compare, { inputs: { metrics: grid(losses) } }), 'performance').map((row) => row.best);
    expect(await standings(two)).toEqual(['best', 'no']);
    expect(await standings(three)).toEqual(['tied for best', 'tied for best', 'no']);
  });

  it('pools the spread over seeds into the noise floor', async () => {
    // Deviations of the reference: 0.1 around 2 (5 %) and 0.2 around 4 (5 %).
    const metrics = grid({
      q: { bf16: [1.9, 2, 2.1], nf4: [2, 2.1, 2.2] },
      v: { bf16: [3.8, 4, 4.2], nf4: [4, 4.1, 4.2] },
    });
    const { noise } = resultsOf(await shop.run(compare, { inputs: { metrics } }));
    expect(noise!.deviationPercent).toBeCloseTo(5, 10);
    expect(noise!.deviation).toBeCloseTo(Math.sqrt((0.1 ** 2 + 0.2 ** 2) / 2), 10);
  });

  it('turns the sign where higher is better', async () => {
    const member = (precision: string, agreement: number): Member => ({
      path: writeMetrics(path(), { lossPerExample: exampleLosses(10, 1), agreement }),
      axes: { targets: 'q', precision, seed: 1 },
    });
    const made = await shop.run(compare, {
      inputs: { metrics: [member('bf16', 0.8), member('nf4', 0.6)] },
      params: { metric: 'top1Agreement' },
    });
    expect(resultsOf(made).configurations[0]!.drop.value).toBeCloseTo(25, 10);
  });

  it('says n/a for what one seed cannot give', async () => {
    const made = await shop.run(compare, { inputs: { metrics: grid({ q: { bf16: [2], nf4: [2.1] } }) } });
    const results = resultsOf(made);
    expect(results.configurations[0]!.drop.interval).toBeNull();
    expect(results.noise).toBeNull();
    expect(Object.keys(csvOf(made, 'performance')[0]!)).not.toContain('drop_low');
    expect(results.limits.join(' ')).toContain('one seed only');
  });

  it('compares along any axis, with any axes for rows and several variants', async () => {
    const metrics = [4, 3, 2].flatMap((bits) =>
      [2, 8].flatMap((rank) => [run({ bits, rank, task: 'sums', repeat: 0 }, 2 + (4 - bits) / rank)]),
    );
    const made = await shop.run(compare, {
      inputs: { metrics },
      params: { comparison: 'bits', reference: '4', rows: ['rank', 'task'], replicate: 'repeat' },
    });
    const { configurations } = resultsOf(made);
    expect(configurations.map(({ label, variant, drop }) => [label, variant, drop.value])).toEqual([
      ['rank=2, task=sums', '3', expect.closeTo(25, 10)],
      ['rank=2, task=sums', '2', expect.closeTo(50, 10)],
      ['rank=8, task=sums', '3', expect.closeTo(6.25, 10)],
      ['rank=8, task=sums', '2', expect.closeTo(12.5, 10)],
    ]);
    expect(markdownOf(made, 'performance')).toContain('| rank=8, task=sums | 3 |');
  });

  it('reports memory in MB of a million bytes, with the reduction', async () => {
    const metrics = grid({ q: { bf16: [2], nf4: [2.1] } });
    const summaries = metrics.map(({ axes }) => ({
      path: writeSummary(path(), axes.precision === 'nf4' ? 1_000_000 : 5_000_000, 0),
      axes,
    }));
    const made = await shop.run(compare, { inputs: { metrics, summaries } });
    expect(csvOf(made, 'performance')[0]).toMatchObject({
      memory_reference_mb: 10,
      memory_variant_mb: 6,
      memory_reduction_percent: expect.closeTo(40, 10),
    });
  });
});

describe('the families', () => {
  const families = (increases: Record<string, number>, examples = 40) => {
    const base = exampleLosses(examples, 5);
    return {
      unquantized: writeMetrics(path(), { lossPerExample: base }),
      families: Object.entries(increases).map(([family, increase], i) => ({
        path: writeMetrics(path(), { lossPerExample: raised(base, increase, 0.002, i) }),
        axes: { family, layers: 'all' },
      })),
    };
  };

  it('gives increases weighted by tokens, in nats, percent and per million weights', async () => {
    const tokens = [10, 1, 1, 1, 1, 1, 1, 1, 1, 2];
    const losses = (first: number, other: number) => tokens.map((_, i) => (i === 0 ? first : other));
    const member = (family: string, first: number, other: number): Member => ({
      path: writeMetrics(path(), { lossPerExample: losses(first, other), tokensPerExample: tokens }),
      axes: { family, layers: 'all' },
    });
    const counts = ['q', 'fc'].map((family, i) => {
      const at = path();
      writeFileSync(at, JSON.stringify({ quantizedWeights: [500_000, 2_000_000][i] }));
      return { path: at, axes: { family, layers: 'all' } };
    });
    const made = await shop.run(compare, {
      inputs: {
        unquantized: writeMetrics(path(), { lossPerExample: losses(2, 1), tokensPerExample: tokens }),
        families: [member('q', 2.2, 1), member('fc', 2, 1.4)],
        counts,
      },
    });
    // q: 10 tokens of 20 rise by 0.2: 0.1 of 1.5 nats. fc: 10 of 20 rise by 0.4: 0.2.
    const rows = csvOf(made, 'family_sensitivity');
    expect(rows.map((row) => row.family)).toEqual(['fc', 'q']);
    expect(rows[0]!.increase).toBeCloseTo(0.2, 10);
    expect(rows[0]!.percent).toBeCloseTo(100 * (0.2 / 1.5), 8);
    expect(rows[0]!.per_million).toBeCloseTo(0.1, 10);
    expect(rows[1]!.increase).toBeCloseTo(0.1, 10);
    expect(rows[1]!.per_million).toBeCloseTo(0.2, 10);
    // Per million weights the order turns around, and both are judged.
    expect(resultsOf(made).verdicts.map((verdict) => verdict.evidence[0]!.label)).toEqual([
      'Most sensitive: fc',
      'Most sensitive: q',
    ]);
  });

  it('supports the hypothesis on a planted effect, by the ratio that the pipeline states', async () => {
    const inputs = families({ q: 0.01, k: 0.011, fc: 0.05 });
    const [verdict] = resultsOf(await shop.run(compare, { inputs })).verdicts;
    expect(verdict!.outcome).toBe('supported');
    expect(verdict!.answer).toMatch(/^Quantizing fc costs most: \+0\.0\d+ nats per token/);
    expect(verdict!.rule).toContain('at least 2 times');
    const stricter = await shop.run(compare, { inputs, params: { ratio: 20 } });
    expect(resultsOf(stricter).verdicts[0]!.outcome).toBe('partly');
  });

  it('warns where the model knows less of the records than a uniform guess', async () => {
    const base = exampleLosses(40, 5);
    const loss = base.reduce((a, b) => a + b, 0) / base.length;
    const limits = async (uniformLoss: number) => {
      const unquantized = writeMetrics(path(), { lossPerExample: base });
      writeFileSync(unquantized, JSON.stringify({ ...JSON.parse(readFileSync(unquantized, 'utf8')), uniformLoss }));
      const { families: members } = families({ q: 0.01, fc: 0.05 });
      const results = resultsOf(await shop.run(compare, { inputs: { families: members, unquantized } }));
      return { limits: results.limits.join(' '), evidence: JSON.stringify(results.verdicts[0]!.evidence) };
    };
    const worse = await limits(loss / 2);
    expect(worse.limits).toMatch(
      /Without training the model loses .* nats per token .*a uniform guess: it is sure of what is wrong/,
    );
    expect(worse.evidence).toMatch(/no better than the \d\.\d+ of a uniform guess/);
    const better = await limits(2 * loss);
    expect(better.limits).not.toContain('uniform guess');
    expect(better.evidence).toMatch(/below the \d\.\d+ of a uniform guess/);
  });

  it('rejects it where the families are alike', async () => {
    const inputs = families({ q: 0.01, k: 0.01, fc: 0.01 });
    expect(resultsOf(await shop.run(compare, { inputs })).verdicts[0]!.outcome).toBe('rejected');
  });
});

describe('a whole study', () => {
  let made: StageRun;
  let study: Study;
  beforeAll(async () => {
    study = writeStudy(join(shop.folder, 'study'));
    made = await shop.run(compare, { inputs: { ...study } });
  });

  it('writes every table as CSV and Markdown, no cell left open', () => {
    const names = ['family_sensitivity', 'layer_sensitivity', 'performance', 'quality', 'runs'];
    expect(readdirSync(made.outputs.tables!).sort()).toEqual(names.flatMap((name) => [`${name}.csv`, `${name}.md`]));
    for (const name of names) {
      const text = readFileSync(join(made.outputs.tables!, `${name}.csv`), 'utf8');
      expect(text).not.toMatch(/,,|,\n|NaN|undefined|null/);
      expect(markdownOf(made, name)).not.toMatch(/\| +\||NaN|undefined|null/);
    }
    expect(csvOf(made, 'layer_sensitivity')).toHaveLength(24);
    expect(csvOf(made, 'quality')).toHaveLength(8);
    expect(csvOf(made, 'runs')).toHaveLength(24);
  });

  it('orders layers as numbers and averages curves over seeds', () => {
    const { sensitivity, curves } = resultsOf(made);
    expect(sensitivity!.layers).toEqual(['0', '1', '2', '3']);
    expect(curves).toHaveLength(8);
    expect(curves[0]!.training).toHaveLength(80);
    expect(curves[0]!.validation.map((point) => point.step)).toEqual([1, 20, 40, 60, 80]);
    for (const { low, mean, high } of curves[0]!.training) expect(low <= mean && mean <= high).toBe(true);
  });

  it('gives the same bytes twice', async () => {
    const again = await shop.run(compare, { inputs: { ...study } });
    expect(readFileSync(again.outputs.results!)).toEqual(readFileSync(made.outputs.results!));
  });
});

describe('what it refuses, and how it says so', () => {
  const refusal = (inputs: Record<string, string | Member[]>, params: Record<string, Json> = {}) =>
    shop.run(compare, { inputs, params }).then(
      () => 'nothing was refused',
      (error: Error) => `${error.name}: ${error.message}`,
    );

  it.each<[string, () => Record<string, string | Member[]>, RegExp]>([
    ['nothing', () => ({}), /StageError: nothing to compare: give `metrics`, or `families`/],
    [
      'a seed without a partner',
      () => ({ metrics: grid({ q: { bf16: [2, 2], nf4: [2.1] } }) }),
      /q: seed 2 was evaluated with precision bf16 but not with nf4/,
    ],
    ['no reference', () => ({ metrics: grid({ q: { nf4: [2.1] } }) }), /the reference is "bf16" and the runs have nf4/],
    [
      'members that differ in an axis it was not told of',
      () => ({ metrics: [2, 4].map((rank) => run({ targets: 'q', precision: 'bf16', seed: 1, rank }, 2)) }),
      /two members of "metrics" cannot be told apart: \(targets=q, precision=bf16, seed=1, rank=2\) and \(.*rank=4\)/,
    ],
    ['an axis that is missing', () => ({ metrics: [run({ precision: 'nf4' }, 2)] }), /has no axis "targets"/],
    [
      'families without the unquantized model',
      () => ({ families: [run({ family: 'q', layers: 'all' }, 2)] }),
      /`families` needs `unquantized`/,
    ],
    [
      'one family',
      () => ({ families: [run({ family: 'q', layers: 'all' }, 2)], unquantized: run({}, 2).path }),
      /compares families quantized in every layer, and "families" has 1/,
    ],
    [
      'other examples',
      () => ({
        families: ['q', 'k'].map((family) => run({ family, layers: 'all' }, 2, [1, 2, 3, 4, 5, 6, 7, 8, 9, 9])),
        unquantized: run({}, 2, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]).path,
      }),
      /family=q, layers=all: example 9 has 9 response tokens, and 10 in the unquantized/,
    ],
    [
      'a summary that is missing',
      () => ({
        metrics: grid({ q: { bf16: [2], nf4: [2.1] } }),
        summaries: [{ path: writeSummary(path(), 1, 1), axes: { targets: 'q', precision: 'bf16', seed: 1 } }],
      }),
      /"summaries" has no member for \(targets=q, precision=nf4, seed=1\)/,
    ],
  ])('%s', async (_, inputs, message) => {
    expect(await refusal(inputs())).toMatch(message);
  });

  it('a loss that is not a number, with the task and the field', async () => {
    const metrics = grid({ q: { bf16: [2], nf4: [2.1] } });
    const text = readFileSync(metrics[1]!.path, 'utf8').replace('"loss":2.1', '"loss":null');
    writeFileSync(metrics[1]!.path, text);
    expect(await refusal({ metrics })).toMatch(
      /StageError: the metrics of targets=q, precision=nf4, seed=1: "loss" is null/,
    );
    writeFileSync(metrics[1]!.path, text.slice(0, 40));
    expect(await refusal({ metrics })).toMatch(/StageError: the metrics of .* cannot be read: .*the JSON is cut off/);
  });

  it('a drop in percent of zero', async () => {
    const metrics = grid({ q: { bf16: [0], nf4: [2.1] } });
    expect(await refusal({ metrics })).toMatch(
      /loss is 0 with precision bf16, and a drop in percent of 0 does not exist/,
    );
  });
});
