/** Statistics of gaps on synthetic data with known answers: planted effects are found, and none in noise at the stated rate. */
import { describe, expect, it } from 'vitest';
import { Random } from '../model/random.ts';
import { crossedMean, crossedRatio } from '../stages/shared/crossed.ts';

const how = { confidence: 0.95, resamples: 400, seed: 1 };

/** Gaps of a method and of a control over seeds and units: effects of the seed, of the unit and of both, log-normal. */
function gaps(
  { seeds = 5, units = 24, ratio = 1, bySeed = 0.15, byUnit = 0.3, byBoth = 0.2 },
  trial: number,
): { method: number[][]; control: number[][] } {
  const random = new Random(trial, 'gaps');
  const unit = Array.from({ length: units }, () => byUnit * random.normal());
  const draw = (scale: number) =>
    Array.from({ length: seeds }, () => {
      const seed = bySeed * random.normal();
      return unit.map((effect) => scale * Math.exp(effect + seed + byBoth * random.normal()));
    });
  return { method: draw(0.5 * ratio), control: draw(0.5) };
}

describe('the ratio of two gaps', () => {
  it('is the ratio of sums, with the two parts of its interval in quadrature', () => {
    // One unit value for each seed, so that only seeds vary: residuals are +-1 / 4, their deviation sqrt(2) / 4.
    const values = [
      [1, 1, 1, 1, 1, 1, 1, 1],
      [3, 3, 3, 3, 3, 3, 3, 3],
    ];
    const weights = values.map((row) => row.map(() => 4));
    const { value, interval } = crossedRatio(values, weights, how)!;
    expect(value).toBe(0.5);
    // t with one degree of freedom at 95 % is 12.7062; half = 12.7062 * (sqrt(2) / 4) / sqrt(2).
    expect(interval!.high - value).toBeCloseTo(12.706204736 / 4, 6);
    expect(crossedRatio(values.slice(0, 1), weights.slice(0, 1), how)!.interval).toEqual({ low: 0.25, high: 0.25 });
  });

  it('has no interval with one seed and few units, and no value where the control moved nothing', () => {
    expect(crossedRatio([[1, 2]], [[2, 2]], how)).toEqual({ value: 0.75, interval: null });
    expect(crossedRatio([[1, 2]], [[0, 0]], how)).toBeNull();
    expect(() => crossedRatio([[1, 2]], [[1]], how)).toThrow(/2 units for each seed/);
  });

  it('weights examples by their tokens', () => {
    expect(crossedMean([[1, 4]], how, [3, 1]).value).toBe(1.75);
  });

  it.each([
    ['seeds alone', { byUnit: 0, byBoth: 0 }],
    ['units and seeds', {}],
    ['what unit and seed do together', { bySeed: 0.02, byUnit: 0.05, byBoth: 0.4 }],
  ])('finds no difference in noise at the stated rate or less: %s', (_, effects) => {
    const trials = 300;
    let found = 0;
    for (let trial = 0; trial < trials; trial++) {
      const { method, control } = gaps(effects, trial);
      const { interval } = crossedRatio(method, control, how)!;
      if (interval!.low > 1 || interval!.high < 1) found++;
    }
    // 5 % is stated, with a standard error of 1.3 % over 300 trials.
    expect(found / trials).toBeLessThan(0.09);
  });

  it('finds a planted difference', () => {
    const trials = 60;
    let found = 0;
    for (let trial = 0; trial < trials; trial++) {
      const { method, control } = gaps({ ratio: 0.4 }, trial);
      if (crossedRatio(method, control, how)!.interval!.high < 1) found++;
    }
    expect(found / trials).toBeGreaterThan(0.95);
  });
});
