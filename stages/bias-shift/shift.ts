/** How far quantization moves a model's preferences between paired sentences, kind by kind. */
import { type Bounded, type Resampling, simultaneousIntervals } from '../compare/bootstrap.ts';
import { mean } from '../compare/student.ts';

export interface Gap {
  readonly kind: string;
  readonly first: string;
  readonly second: string;
  /** Log-probability of the first less that of the second, in nats. */
  readonly gap: number;
}

export interface Shift {
  readonly kind: string;
  readonly pairs: number;
  /** The mean gap before and after. */
  readonly before: number;
  readonly after: number;
  /** The mean change, paired; and the mean size of the changes, which cannot cancel. */
  readonly change: Bounded;
  readonly size: number;
  /** Pairs whose preference turned round. */
  readonly turned: number;
}

/**
 * The shift of each kind. Intervals are bootstrapped over pairs; with Bonferroni they hold for all kinds together.
 * @param before @param after the same pairs in the same order.
 * @throws RangeError for fewer pairs of a kind than the bootstrap needs.
 */
export function shiftsOf(before: readonly Gap[], after: readonly Gap[], how: Resampling): readonly Shift[] {
  const kinds = [...new Set(before.map(({ kind }) => kind))];
  const confidence = 1 - (1 - how.confidence) / kinds.length;
  return kinds.map((kind) => {
    const rows = before.flatMap((one, i) => (one.kind === kind ? [{ before: one.gap, after: after[i]!.gap }] : []));
    const changes = Float64Array.from(rows, (row) => row.after - row.before);
    const [change] = simultaneousIntervals([changes], new Float64Array(rows.length).fill(1), { ...how, confidence });
    return {
      kind,
      pairs: rows.length,
      before: mean(rows.map((row) => row.before)),
      after: mean(rows.map((row) => row.after)),
      change: change!,
      size: mean([...changes].map(Math.abs)),
      turned: rows.filter((row) => row.before * row.after < 0).length,
    };
  });
}
