/** The statistics of compare, against tables, against theory, and on synthetic data with known answers. */
import { describe, expect, it } from 'vitest';
import { Random } from '../model/random.ts';
import { pointwiseIntervals, simultaneousIntervals } from '../stages/compare/bootstrap.ts';
import type { Increases } from '../stages/compare/sensitivity.ts';
import { mean, meanWithInterval, standardDeviation, studentQuantile } from '../stages/compare/student.ts';
import { contrastFamilies, judge, plainIncrease, verdictOn } from '../stages/compare/verdict.ts';

const how = { confidence: 0.95, resamples: 4000, seed: 1 };
const ones = (examples: number) => new Float64Array(examples).fill(1);

describe("Student's t", () => {
  // Inverted from the regularized incomplete beta function with 30 digits.
  it.each([
    [0.975, 1, 12.706204736174705],
    [0.975, 2, 4.302652729749464],
    [0.975, 3, 3.18244630528371],
    [0.975, 4, 2.776445105197794],
    [0.95, 9, 1.833112932656237],
    [0.995, 10, 3.169272672616951],
    [0.975, 30, 2.042272456301238],
    [0.975, 100, 1.983971518523552],
  ])('has the quantile %d at %d degrees of freedom', (probability, degrees, value) => {
    expect(studentQuantile(probability, degrees)).toBeCloseTo(value, 10);
    expect(studentQuantile(1 - probability, degrees)).toBeCloseTo(-value, 10);
  });

  it('refuses what no distribution has', () => {
    expect(() => studentQuantile(1, 3)).toThrow(RangeError);
    expect(() => studentQuantile(0.9, 0)).toThrow(RangeError);
  });

  it('gives the interval of a hand-computed example', () => {
    // Mean 2, deviation 1, n = 3: 2 -+ 4.302652729749464 / sqrt(3).
    const { value, interval } = meanWithInterval([1, 2, 3], 0.95);
    expect(value).toBe(2);
    expect(interval?.low).toBeCloseTo(2 - 2.484137712, 8);
    expect(interval?.high).toBeCloseTo(2 + 2.484137712, 8);
  });

  it('gives no spread and no interval for one value', () => {
    expect(standardDeviation([5])).toBeNull();
    expect(meanWithInterval([5], 0.95)).toEqual({ value: 5, interval: null });
    expect(() => mean([])).toThrow(RangeError);
  });
});

describe('the bootstrap', () => {
  it('estimates the ratio of sums, and agrees with theory on much data', () => {
    const random = new Random(3);
    const column = Float64Array.from({ length: 4000 }, () => 0.5 + 2 * random.normal());
    const [bounded] = pointwiseIntervals([column], ones(4000), how);
    expect(bounded!.value).toBeCloseTo(mean([...column]), 12);
    const half = (bounded!.interval.high - bounded!.interval.low) / 2;
    const theory = (1.959964 * standardDeviation([...column])!) / Math.sqrt(4000);
    expect(half / theory).toBeGreaterThan(0.92);
    expect(half / theory).toBeLessThan(1.08);
  });

  it('weights examples: long ones count for more', () => {
    const weight = Float64Array.from([10, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
    const column = weight.map((w, i) => w * (i === 0 ? 3 : 1));
    expect(pointwiseIntervals([column], weight, how)[0]!.value).toBeCloseTo((30 + 10) / 20, 12);
  });

  it('gives no width to a column without spread, and the same bits for the same seed', () => {
    const weight = Float64Array.from({ length: 20 }, (_, i) => 1 + (i % 5));
    const flat = weight.map((w) => 0.25 * w);
    const noisy = weight.map((w, i) => w * Math.sin(i));
    const [still, moving] = simultaneousIntervals([flat, noisy], weight, how);
    expect(still!.interval).toEqual({ low: still!.value, high: still!.value });
    expect(moving!.interval.high).toBeGreaterThan(moving!.value);
    expect(simultaneousIntervals([flat, noisy], weight, how)).toEqual([still, moving]);
  });

  it('stays finite when most resamples have no spread', () => {
    const column = ones(12).map((_, i) => (i === 0 ? 1 : 0));
    const { interval } = pointwiseIntervals([column], ones(12), how)[0]!;
    expect(Number.isFinite(interval.low) && Number.isFinite(interval.high)).toBe(true);
  });

  it('covers a known mean at about the stated rate, one interval and six together', () => {
    const random = new Random(11);
    const trials = 300;
    let alone = 0;
    let together = 0;
    for (let trial = 0; trial < trials; trial++) {
      // Exponential, less its mean: skewed, as increases in loss are.
      const columns = Array.from({ length: 6 }, () =>
        Float64Array.from({ length: 50 }, () => -Math.log(1 - random.uniform()) - 1),
      );
      const setting = { confidence: 0.9, resamples: 200, seed: trial };
      const covers = (bounded: { interval: { low: number; high: number } }) =>
        bounded.interval.low <= 0 && bounded.interval.high >= 0;
      if (covers(pointwiseIntervals([columns[0]!], ones(50), setting)[0]!)) alone++;
      if (simultaneousIntervals(columns, ones(50), setting).every(covers)) together++;
    }
    // 90 % with a standard error of 1.7 % over 300 trials; a skewed mean of 50 is covered a little less often.
    expect(alone / trials).toBeGreaterThan(0.84);
    expect(alone / trials).toBeLessThan(0.96);
    expect(together / trials).toBeGreaterThan(0.82);
    expect(together / trials).toBeLessThan(0.96);
  });

  it('refuses too few examples and columns of other lengths', () => {
    expect(() => pointwiseIntervals([ones(5)], ones(5), how)).toThrow(/8 examples or more, not 5/);
    expect(() => pointwiseIntervals([ones(9)], ones(10), how)).toThrow(/every column must hold 10 values/);
  });
});

/** Six families whose increases have the given means, examples sharing part of their noise. */
function families(means: readonly number[], examples: number, seed: number): Increases[] {
  const random = new Random(seed, 'families');
  const shared = Array.from({ length: examples }, () => 0.01 * random.normal());
  return means.map((increase, i) => ({
    family: `f${i}`,
    layer: 'all',
    weighted: Float64Array.from(shared, (common) => increase + common + 0.01 * random.normal()),
    weights: null,
  }));
}

describe('the verdict', () => {
  const beside = { baseline: { loss: 2, examples: 80, tokens: 80, uniformLoss: null }, noise: null };
  const outcomeOf = (increases: Increases[], confidence = 0.95, seed = 1) =>
    judge(
      contrastFamilies(increases, ones(increases[0]!.weighted.length), plainIncrease, {
        ...how,
        confidence,
        seed,
        resamples: 200,
      }),
      2,
    );

  it('finds a planted effect, and names the families', () => {
    const increases = families([0.01, 0.011, 0.012, 0.05, 0.01, 0.004], 80, 1);
    const contrast = contrastFamilies(increases, ones(80), plainIncrease, how);
    expect(contrast.largest.family).toBe('f3');
    expect(contrast.smallest.family).toBe('f5');
    expect(judge(contrast, 2)).toBe('supported');
    expect(contrast.alike).toEqual([]);
  });

  it('names the families that cannot be told from the most sensitive, in its answer too', () => {
    const increases = families([0.05, 0.002, 0.0499, 0.01], 80, 4);
    const rule = { ...how, hypothesis: 'They differ.', ratio: 2 };
    const contrast = contrastFamilies(increases, ones(80), plainIncrease, rule);
    const [most, other] = contrast.largest.family === 'f0' ? ['f0', 'f2'] : ['f2', 'f0'];
    expect(contrast).toMatchObject({ largest: { family: most }, smallest: { family: 'f1' }, alike: [other] });
    const { answer, evidence } = verdictOn(contrast, plainIncrease, rule, beside);
    expect(answer).toMatch(
      new RegExp(`^Quantizing ${most} costs most by estimate: .* ${most} cannot be told from ${other}\\.$`),
    );
    expect(evidence).toContainEqual({ label: `Cannot be told from ${most}`, value: other });
  });

  it('does not say that anything costs where every family gains', () => {
    const rule = { ...how, hypothesis: 'They differ.', ratio: 2 };
    const contrast = contrastFamilies(families([-0.01, -0.05], 80, 3), ones(80), plainIncrease, rule);
    const { outcome, answer } = verdictOn(contrast, plainIncrease, rule, beside);
    expect(outcome).toBe('partly');
    expect(answer).toMatch(/^No family costs anything: f0, .* and f1 differ by 0\.0.* is above zero\.$/);
  });

  it('says partly when the difference is real but smaller than the ratio asked for', () => {
    expect(outcomeOf(families([0.1, 0.1, 0.1, 0.13, 0.1, 0.1], 200, 2))).toBe('partly');
  });

  it('counts a family that costs nothing as further apart than any ratio', () => {
    const contrast = contrastFamilies(families([0.05, -0.01], 80, 3), ones(80), plainIncrease, how);
    expect(contrast.ratio).toBeNull();
    expect(judge(contrast, 1000)).toBe('supported');
  });

  it('finds an effect in noise at about the stated rate', () => {
    const trials = 250;
    let found = 0;
    for (let trial = 0; trial < trials; trial++) {
      if (outcomeOf(families([0.01, 0.01, 0.01, 0.01, 0.01, 0.01], 40, 100 + trial), 0.9, trial) !== 'rejected')
        found++;
    }
    // 10 % is stated, with a standard error of 1.9 % over 250 trials.
    expect(found / trials).toBeGreaterThan(0.03);
    expect(found / trials).toBeLessThan(0.16);
  });
});
