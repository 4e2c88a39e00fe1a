/** The passes, in the order in which a traced program goes through them. */
import { mergeConstants } from './passes/constants.ts';
import { dropDeadCalls } from './passes/dead_calls.ts';
import { recomputeCheap } from './passes/recompute.ts';
import { reuseDyingOperands } from './passes/reuse_operands.ts';
import { attachScratch } from './passes/scratch.ts';
import { updateStatesInPlace } from './passes/state_updates.ts';
import { aliasViews } from './passes/views.ts';
import type { Program } from './program.ts';

/** One pass: the same results from a program that needs less. */
export type Pass = (program: Program) => Program;

/** Views come before the passes that ask when memory is last read; scratch comes last, when calls no longer change. */
export const passes: readonly Pass[] = [
  dropDeadCalls,
  aliasViews,
  mergeConstants,
  recomputeCheap,
  updateStatesInPlace,
  reuseDyingOperands,
  attachScratch,
];

/** Takes a traced program through every pass. A program that has been through them comes out as it is. */
export function optimize(program: Program): Program {
  return passes.reduce((current, pass) => pass(current), program);
}
