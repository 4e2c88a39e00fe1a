/** Means and ratios over units (layers or examples) that were measured with several seeds: intervals that carry both. */
import { fewestExamples, pointwiseIntervals, type Resampling } from '../compare/bootstrap.ts';
import type { Estimate, Interval } from '../compare/results.ts';
import { standardDeviation, studentQuantile } from '../compare/student.ts';

/** [seeds][units]: the same units in the same order for every seed. */
export type Crossed = readonly (readonly number[])[];

/**
 * The ratio sum(values) / sum(weights) over seeds and units, with an interval.
 *
 * Its half width is sqrt(u² + s²). u is the bootstrap's over units, each averaged over seeds and resampled for values and weights
 * together, so that they stay paired. s is Student's t over seeds of the linearised ratio (values - ratio weights) / mean weight,
 * with one degree of freedom less than there are seeds. Variances of crossed effects add (Owen, The pigeonhole bootstrap,
 * 2007); what unit and seed do together is in both parts, so the interval is a little wide rather than narrow. With one seed, or
 * with fewer than `fewestExamples` units, it is the other part alone, and with neither there is none.
 * @returns null where the weights sum to zero: there is no ratio. @throws RangeError when rows are of different lengths.
 */
export function crossedRatio(values: Crossed, weights: Crossed, how: Resampling): Estimate | null {
  const units = values[0]?.length ?? 0;
  if (values.length !== weights.length || [...values, ...weights].some((row) => row.length !== units)) {
    throw new RangeError(`values and weights must have ${units} units for each seed`);
  }
  const [column, weight] = [meanOverSeeds(values, units), meanOverSeeds(weights, units)];
  const total = sum(weight);
  if (total === 0) return null;
  const value = sum(column) / total;
  const ofUnits = units < fewestExamples ? null : halfWidth(pointwiseIntervals([column], weight, how)[0]!.interval);
  const ofSeeds = halfOverSeeds(values, weights, value, total, how.confidence);
  if (ofUnits === null && ofSeeds === null) return { value, interval: null };
  const half = Math.hypot(ofUnits ?? 0, ofSeeds ?? 0);
  return { value, interval: { low: value - half, high: value + half } };
}

/** The mean over seeds and units, with an interval as crossedRatio's. Units may be weighted, as examples are by their tokens. */
export function crossedMean(values: Crossed, how: Resampling, unitWeights?: readonly number[]): Estimate {
  const weights = values.map((row) => unitWeights ?? row.map(() => 1));
  const weighted = values.map((row, s) => row.map((x, u) => x * weights[s]![u]!));
  const found = crossedRatio(weighted, weights, how);
  if (found === null) throw new RangeError('the mean of no values does not exist');
  return found;
}

function halfOverSeeds(
  values: Crossed,
  weights: Crossed,
  ratio: number,
  total: number,
  confidence: number,
): number | null {
  const residuals = values.map((row, s) => (sum(row) - ratio * sum(weights[s]!)) / total);
  const deviation = standardDeviation(residuals);
  if (deviation === null) return null;
  return (studentQuantile((1 + confidence) / 2, residuals.length - 1) * deviation) / Math.sqrt(residuals.length);
}

function meanOverSeeds(rows: Crossed, units: number): Float64Array {
  return Float64Array.from({ length: units }, (_, u) => sum(rows.map((row) => row[u]!)) / rows.length);
}

function halfWidth({ low, high }: Interval): number {
  return (high - low) / 2;
}

function sum(values: ArrayLike<number>): number {
  let all = 0;
  for (let i = 0; i < values.length; i++) all += values[i]!;
  return all;
}
