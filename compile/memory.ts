/** The peak memory of a program, in bytes by group: exact, and known without running it or having the machine that will. */
import { optimize } from './optimize.ts';
import { planMemory } from './plan.ts';
import type { Buffer, Program } from './program.ts';

/** Bytes of the arena; the groups add up to the total. */
export interface PeakMemory extends Readonly<Record<Buffer['group'], number>> {
  readonly total: number;
}

/**
 * What loading and running a program takes: `weights` and `adapters` with their paddings, `optimizer` state, and
 * `activations`, which is inputs, constants and the temporaries' region at its fullest.
 */
export function peakMemory(program: Program): PeakMemory {
  const { arenaBytes, groups } = planMemory(optimize(program));
  return { ...groups, total: arenaBytes };
}
