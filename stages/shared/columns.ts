/** Columns of tables, in a word each. */
import type { Cell, Column, Estimate } from '../compare/results.ts';

export const text = (name: string, label: string): Column => ({ name, label, kind: 'text' });

export const number = (name: string, label: string, decimals: number): Column => ({
  name,
  label,
  kind: 'number',
  decimals,
});

/** A number and the ends of its interval: NAME, NAME_low, NAME_high. */
export function estimateColumns(name: string, label: string, decimals: number): readonly Column[] {
  return [
    number(name, label, decimals),
    number(`${name}_low`, 'from', decimals),
    number(`${name}_high`, 'to', decimals),
  ];
}

/** The cells of `estimateColumns`; `scale` is 100 for percent. */
export function estimateCells(estimate: Estimate | null, scale = 1): readonly Cell[] {
  if (estimate === null) return [null, null, null];
  const { value, interval } = estimate;
  return [
    value * scale,
    interval === null ? null : interval.low * scale,
    interval === null ? null : interval.high * scale,
  ];
}
