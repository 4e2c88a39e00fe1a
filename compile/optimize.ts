/** The passes, in the order in which a traced program goes through them. */
import type { Precision } from '../native/addon.ts';
import { fuseAdditions } from './passes/additions.ts';
import { keepAttention } from './passes/attention_lse.ts';
import { mergeConstants } from './passes/constants.ts';
import { dropDeadCalls } from './passes/dead_calls.ts';
import { storeInHalves } from './passes/halves.ts';
import { joinLossGradient } from './passes/loss_gradient.ts';
import { foldNestedScales } from './passes/nested_scales.ts';
import { joinOptimizerCalls } from './passes/optimizer_calls.ts';
import { recomputeCheap } from './passes/recompute.ts';
import { reuseDyingOperands } from './passes/reuse_operands.ts';
import { attachScratch } from './passes/scratch.ts';
import { updateStatesInPlace } from './passes/state_updates.ts';
import { aliasViews } from './passes/views.ts';
import type { Call, Program } from './program.ts';

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

/**
 * For a GPU, which waits for memory and for launches where a CPU computes: calls are joined, and activations may be bf16.
 * Joining comes when views are known and nothing works in place yet; the optimizer's calls are joined when it does.
 */
export function gpuPasses(precision: Precision): readonly Pass[] {
  return [
    dropDeadCalls,
    aliasViews,
    mergeConstants,
    fuseAdditions,
    foldNestedScales,
    keepAttention,
    joinLossGradient,
    recomputeCheap,
    updateStatesInPlace,
    joinOptimizerCalls,
    ...(precision === 'bf16' ? [storeInHalves] : []),
    reuseDyingOperands,
    attachScratch,
  ];
}

/** Takes a traced program through every pass. A program that has been through them comes out as it is. */
export function optimize(program: Program): Program {
  return passes.reduce((current, pass) => pass(current), program);
}

/** The same for a GPU that multiplies in the given precision. */
export function optimizeForGpu(program: Program, precision: Precision): Program {
  return gpuPasses(precision).reduce((current, pass) => pass(current), program);
}

/**
 * What products are multiplied in on a GPU when nobody says: bf16 if a linear map of the program has its weights in 16 or 4
 * bits, else float32.
 */
export function precisionOf(program: Program): Precision {
  const inFewBits = ({ kernel, inputs }: Call) =>
    /^(?:Linear|LinearBackwardInput|Nf4MatMul|Nf4MatMulBackwardInput)$/.test(kernel) &&
    ['bf16', 'uint8'].includes(program.buffers[inputs[1]!]!.storage);
  return program.calls.some(inFewBits) ? 'bf16' : 'float32';
}
