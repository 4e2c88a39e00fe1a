/** The studentised bootstrap over held-out examples, for many ratios at once. */
import { Random } from '../../model/random.ts';
import type { Interval } from './results.ts';

/** How to resample. `confidence` is that of all intervals together. */
export interface Resampling {
  readonly confidence: number;
  readonly resamples: number;
  readonly seed: number;
}

/** Fewer examples than this leave resamples with no spread to studentise by. */
export const fewestExamples = 8;

/** A resample that drew hardly any spread is studentised by this share of the standard error: the interval gets wide, not infinite. */
const leastErrorShare = 1e-3;

/** An estimate with an interval that always exists. */
export interface Bounded {
  readonly value: number;
  readonly interval: Interval;
}

/**
 * Intervals for ratios sum(column) / sum(weight) over the same examples, which hold together with the stated confidence:
 * value -+ c * standard error, where c is the quantile of max |t*| over the columns. Every column is resampled with
 * the same examples, so what is paired stays paired. Pass one column for an ordinary (pointwise) interval.
 *
 * The symmetric bootstrap-t of Hall (The Bootstrap and Edgeworth Expansion, 1992, section 3.6), with the linearised standard
 * error of a ratio (Cochran, Sampling Techniques, 1977, section 2.11); the maximum over columns after Romano and Wolf
 * (Econometrica 73, 2005, section 4.2). A column that is proportional to the weights has no spread and an interval of no width.
 *
 * @param columns each [examples]; @param weight [examples], positive.
 * @throws RangeError for fewer than `fewestExamples` examples or columns of other lengths.
 */
export function simultaneousIntervals(
  columns: readonly Float64Array[],
  weight: Float64Array,
  how: Resampling,
): readonly Bounded[] {
  return intervals(columns, weight, how, (statistics) => {
    const critical = quantile(largestOfEach(statistics), how.confidence);
    return statistics.map(() => critical);
  });
}

/** As simultaneousIntervals, but each interval holds alone with the stated confidence. */
export function pointwiseIntervals(
  columns: readonly Float64Array[],
  weight: Float64Array,
  how: Resampling,
): readonly Bounded[] {
  return intervals(columns, weight, how, (statistics) => statistics.map((values) => quantile(values, how.confidence)));
}

/** @param criticalValues turns |t*| of every resample, [columns][resamples], into a critical value for each column. */
function intervals(
  columns: readonly Float64Array[],
  weight: Float64Array,
  how: Resampling,
  criticalValues: (statistics: readonly Float64Array[]) => readonly number[],
): readonly Bounded[] {
  const examples = weight.length;
  if (examples < fewestExamples) {
    throw new RangeError(`the bootstrap needs ${fewestExamples} examples or more, not ${examples}`);
  }
  if (columns.some((column) => column.length !== examples)) {
    throw new RangeError(`every column must hold ${examples} values, one for each example`);
  }
  const ratios = columns.map((column) => linearise(column, weight));
  const statistics = studentised(ratios, weight, how);
  const critical = criticalValues(statistics);
  return ratios.map(({ value, error }, index) => {
    const half = error === 0 ? 0 : critical[index]! * error;
    return { value, interval: { low: value - half, high: value + half } };
  });
}

/** A ratio, its standard error, and what each example adds to its deviation: residual = column - value * weight. */
interface Ratio {
  readonly value: number;
  readonly error: number;
  readonly residual: Float64Array;
}

function linearise(column: Float64Array, weight: Float64Array): Ratio {
  const examples = weight.length;
  const total = sum(weight);
  const value = sum(column) / total;
  const residual = column.map((x, i) => x - value * weight[i]!);
  const squares = residual.reduce((all, u) => all + u * u, 0);
  // Rounding leaves a trace of spread in a column that has none.
  const negligible = 1e-24 * column.reduce((all, x) => all + x * x, 0);
  const error = squares <= negligible ? 0 : Math.sqrt((squares * examples) / (examples - 1)) / total;
  return { value, error, residual };
}

/** |t*| of each ratio in each resample: the resampled deviation over the resampled standard error. [columns][resamples] */
function studentised(ratios: readonly Ratio[], weight: Float64Array, how: Resampling): readonly Float64Array[] {
  const examples = weight.length;
  const random = new Random(how.seed, 'bootstrap');
  const statistics = ratios.map(() => new Float64Array(how.resamples));
  const squaredWeight = weight.map((w) => w * w);
  const times = new Float64Array(examples);
  for (let resample = 0; resample < how.resamples; resample++) {
    times.fill(0);
    for (let k = 0; k < examples; k++) times[random.integer(examples)]! += 1;
    const total = dot(times, weight);
    const weightSquares = dot(times, squaredWeight);
    for (let column = 0; column < ratios.length; column++) {
      const { residual, error } = ratios[column]!;
      if (error === 0) continue;
      let deviation = 0;
      let squares = 0;
      let products = 0;
      for (let i = 0; i < examples; i++) {
        const u = residual[i]!;
        const drawn = times[i]! * u;
        deviation += drawn;
        squares += drawn * u;
        products += drawn * weight[i]!;
      }
      deviation /= total;
      // The sum of (u - deviation * weight)^2 over the resample, from sums that one pass collects.
      const spread = Math.max(0, squares - 2 * deviation * products + deviation ** 2 * weightSquares);
      const resampledError = Math.sqrt((spread * examples) / (examples - 1)) / total;
      statistics[column]![resample] = Math.abs(deviation) / Math.max(resampledError, leastErrorShare * error);
    }
  }
  return statistics;
}

function dot(a: Float64Array, b: Float64Array): number {
  let all = 0;
  for (let i = 0; i < a.length; i++) all += a[i]! * b[i]!;
  return all;
}

function largestOfEach(statistics: readonly Float64Array[]): Float64Array {
  const largest = new Float64Array(statistics[0]?.length ?? 0);
  for (const values of statistics) {
    for (let i = 0; i < values.length; i++) if (values[i]! > largest[i]!) largest[i] = values[i]!;
  }
  return largest;
}

/** The smallest value that at least the given share of values does not exceed. */
function quantile(values: Float64Array, share: number): number {
  const sorted = values.toSorted();
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * (sorted.length + 1)) - 1)]!;
}

function sum(values: Float64Array): number {
  return values.reduce((all, x) => all + x, 0);
}
