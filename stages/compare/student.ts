/** Student's t: means with intervals from a handful of replicates. */
import type { Estimate } from './results.ts';

/** Arithmetic mean. @throws RangeError for an empty list. */
export function mean(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('the mean of no values does not exist');
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Sample standard deviation (denominator n - 1); null for fewer than two values. */
export function standardDeviation(values: readonly number[]): number | null {
  if (values.length < 2) return null;
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}

/**
 * The quantile of Student's t distribution.
 * @param probability in (0, 1); @param degrees degrees of freedom, an integer >= 1.
 */
export function studentQuantile(probability: number, degrees: number): number {
  if (!(probability > 0 && probability < 1)) throw new RangeError(`a probability lies in (0, 1), not ${probability}`);
  if (!Number.isInteger(degrees) || degrees < 1)
    throw new RangeError(`no t distribution with ${degrees} degrees of freedom`);
  const central = Math.abs(2 * probability - 1);
  // In theta = atan(t / sqrt(degrees)) the search is bounded, and doubles halve it to the last bit in about 60 turns.
  let low = 0;
  let high = Math.PI / 2;
  for (let middle = (low + high) / 2; middle > low && middle < high; middle = (low + high) / 2) {
    if (centralProbability(middle, degrees) < central) low = middle;
    else high = middle;
  }
  return Math.sign(probability - 0.5) * Math.sqrt(degrees) * Math.tan(low);
}

/**
 * P(|T| < sqrt(degrees) tan(theta)) for integer degrees of freedom, a finite sum.
 * Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 (odd) and 26.7.4 (even).
 */
function centralProbability(theta: number, degrees: number): number {
  const odd = degrees % 2 === 1;
  const cosine = Math.cos(theta);
  let term = odd ? cosine : 1;
  let sum = degrees === 1 ? 0 : term;
  for (let k = odd ? 3 : 2; k <= degrees - 2; k += 2) {
    term *= ((k - 1) / k) * cosine * cosine;
    sum += term;
  }
  return odd ? (2 / Math.PI) * (theta + Math.sin(theta) * sum) : Math.sin(theta) * sum;
}

/** The mean of independent values with its two-sided t interval at a confidence such as 0.95; no interval for one value. */
export function meanWithInterval(values: readonly number[], confidence: number): Estimate {
  const value = mean(values);
  const deviation = standardDeviation(values);
  if (deviation === null) return { value, interval: null };
  const half = (studentQuantile((1 + confidence) / 2, values.length - 1) * deviation) / Math.sqrt(values.length);
  return { value, interval: { low: value - half, high: value + half } };
}
