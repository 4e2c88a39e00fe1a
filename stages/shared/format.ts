/** How a number is shown to a person: one rule for tables, sentences and pages. */
import type { Cell, Column, Estimate, Interval, NoiseFloor } from '../compare/results.ts';

/** A number with a fixed count of decimals, thousands set apart by commas and a true minus sign; never `-0`. */
export function formatNumber(value: number, decimals: number): string {
  const text = Math.abs(value).toLocaleString('en-US', {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
  return value < 0 && /[1-9]/.test(text) ? `−${text}` : text;
}

/** Bytes in GB, 10^9, with two decimals, or with three digits where it is less than one. */
export function gigabytes(bytes: number): string {
  return formatNumber(bytes / 1e9, bytes < 995e6 ? 3 : 2);
}

/** As formatNumber, with a plus before what is greater than zero. */
export function formatSigned(value: number, decimals: number): string {
  const text = formatNumber(value, decimals);
  return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

/** `0.981 (0.975 to 0.987)`. */
export function estimateText(estimate: Estimate | null, decimals: number): string {
  if (estimate === null) return 'not known';
  const { value, interval } = estimate;
  return `${formatNumber(value, decimals)}${interval === null ? ' (no interval)' : ` (${formatInterval(interval, decimals)})`}`;
}

/** `k`, `k and v`, `q, k and v`. */
export function listed(words: readonly string[]): string {
  const [last, ...before] = words.toReversed();
  return before.length === 0 ? (last ?? '') : `${before.toReversed().join(', ')} and ${last}`;
}

/** `6.2 to 6.4`, or `6.4` where the ends look alike. @param values one or more. */
export function formatRange(values: readonly number[], decimals: number): string {
  const [low, high] = [Math.min(...values), Math.max(...values)].map((value) => formatNumber(value, decimals));
  return low === high ? low! : `${low} to ${high}`;
}

/** `0.12 to 0.34`. */
export function formatInterval(interval: Interval, decimals: number): string {
  return `${formatNumber(interval.low, decimals)} to ${formatNumber(interval.high, decimals)}`;
}

/** A table's cell as text: `n/a` for a value that does not exist. */
export function formatCell(cell: Cell, column: Column): string {
  if (cell === null) return 'n/a';
  if (typeof cell === 'number' && column.kind === 'number') return formatNumber(cell, column.decimals);
  return String(cell);
}

/**
 * Decimals that show the typical value (the median magnitude of those that are not zero) with two digits or more.
 * @returns an integer in 1..6.
 */
export function decimalsFor(values: readonly number[]): number {
  const magnitudes = values
    .map(Math.abs)
    .filter((value) => value > 0)
    .sort((a, b) => a - b);
  const median = magnitudes[magnitudes.length >> 1];
  return median === undefined ? 1 : Math.min(6, Math.max(1, 1 - Math.floor(Math.log10(median))));
}

/** The noise floor in percent, with three digits, wherever it is told: `1.15`. */
export function formatDeviation({ deviationPercent }: NoiseFloor): string {
  return formatNumber(deviationPercent, 1 + decimalsFor([deviationPercent]));
}
