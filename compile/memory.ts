/** The peak memory of a program, in bytes by group: exact, and known without running it or having the machine that will. */
import type { Step } from '../model/scope.ts';
import { optimize, type Target } from './optimize.ts';
import { planMemory } from './plan.ts';
import type { Buffer, Plan } from './program.ts';
import { trace } from './trace.ts';

/** Bytes of the arena; the groups add up to the total. */
export interface PeakMemory extends Readonly<Record<Buffer['group'], number>> {
  readonly total: number;
  /** Optimizer state that is paged to the host: not in the arena. */
  readonly paged: number;
}

/**
 * What loading and running a planned program takes: `weights` and `adapters` with their paddings, `optimizer` state that is
 * not paged, and `activations`, which is inputs, constants and the temporaries' region at its fullest.
 */
export function peakMemory({ arenaBytes, groups, paged }: Plan): PeakMemory {
  return { ...groups, total: arenaBytes, paged: paged.bytes };
}

/**
 * The peak memory of a step that is not going to be run: traced, taken through the passes for a target and planned, without
 * data. A model of 65 billion parameters takes half a second.
 * @param budget of the arena, as `planMemory`.
 * @throws TraceError as `trace`.
 */
export function plannedPeak(name: string, step: Step, target: Target = {}, budget?: number): PeakMemory {
  return peakMemory(planMemory(optimize(trace(name, step), target), budget));
}
