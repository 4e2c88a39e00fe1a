/** The peak memory of a program, in bytes by group: exact, and known without running it or having the machine that will. */
import type { Buffer, Plan } from './program.ts';

/** Bytes of the arena; the groups add up to the total. */
export interface PeakMemory extends Readonly<Record<Buffer['group'], number>> {
  readonly total: number;
}

/**
 * What loading and running a planned program takes: `weights` and `adapters` with their paddings, `optimizer` state, and
 * `activations`, which is inputs, constants and the temporaries' region at its fullest.
 */
export function peakMemory({ arenaBytes, groups }: Plan): PeakMemory {
  return { ...groups, total: arenaBytes };
}
