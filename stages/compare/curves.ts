/** Loss curves of a configuration, summarised over its replicates. */
import { from, op } from 'arquero';
import type { GridRun } from './grid.ts';
import type { Curve, CurvePoint } from './results.ts';

/** One curve for each configuration and value of the compared axis; runs without a curve are left out. */
export function summariseCurves(runs: readonly GridRun[]): readonly Curve[] {
  const rows = runs.flatMap(({ label, value, curve }) => (curve ?? []).map((row) => ({ label, value, ...row })));
  const isOf = (label: string, value: string) => (row: (typeof rows)[number]) =>
    row.label === label && row.value === value;
  return [...new Set(rows.map((row) => row.label))].flatMap((label) =>
    [...new Set(rows.filter((row) => row.label === label).map((row) => row.value))].map((value) => {
      const own = rows.filter(isOf(label, value));
      return {
        label,
        value,
        training: overReplicates(own.map(({ step, loss }) => ({ step, loss }))),
        validation: overReplicates(
          own.flatMap(({ step, validation }) => (validation === null ? [] : [{ step, loss: validation }])),
        ),
      };
    }),
  );
}

/** Mean, lowest and highest loss at each step, steps ascending. */
function overReplicates(rows: { readonly step: number; readonly loss: number }[]): readonly CurvePoint[] {
  if (rows.length === 0) return [];
  return from(rows)
    .groupby('step')
    .rollup({ mean: op.mean('loss'), low: op.min('loss'), high: op.max('loss') })
    .orderby('step')
    .objects() as CurvePoint[];
}
