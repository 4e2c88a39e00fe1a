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
import { joinQuantization } from './passes/quantization.ts';
import { recomputeCheap } from './passes/recompute.ts';
import { type Rematerialization, rematerializeBlocks } from './passes/rematerialize.ts';
import { reuseDyingOperands } from './passes/reuse_operands.ts';
import { attachScratch } from './passes/scratch.ts';
import { updateStatesInPlace } from './passes/state_updates.ts';
import { aliasViews } from './passes/views.ts';
import type { Call, Program } from './program.ts';

/** One pass: the same results from a program that needs less. */
export type Pass = (program: Program) => Program;

/** What a program is made ready for, besides running anywhere. */
export interface Target {
  /** A GPU that multiplies in this precision, which waits for memory and for launches where a CPU computes. */
  readonly gpu?: Precision;
  /** What is kept for the gradient; by default everything. */
  readonly rematerialize?: Rematerialization;
}

/**
 * The passes for a target. Views come before the passes that ask when memory is last read; scratch comes last, when calls
 * no longer change. For a GPU calls are joined, when views are known and nothing works in place yet (those of the optimizer
 * when it does), and activations may be bf16.
 */
export function passesFor({ gpu, rematerialize = 'none' }: Target): readonly Pass[] {
  return [
    dropDeadCalls,
    aliasViews,
    mergeConstants,
    ...(rematerialize === 'block' ? [rematerializeBlocks] : []),
    ...(gpu === undefined ? [] : [fuseAdditions, foldNestedScales, keepAttention, joinLossGradient, joinQuantization]),
    recomputeCheap,
    updateStatesInPlace,
    ...(gpu === undefined ? [] : [joinOptimizerCalls]),
    ...(gpu === 'bf16' ? [storeInHalves] : []),
    reuseDyingOperands,
    attachScratch,
  ];
}

/** Takes a traced program through every pass for a target. A program that has been through them comes out as it is. */
export function optimize(program: Program, target: Target = {}): Program {
  return passesFor(target).reduce((current, pass) => pass(current), program);
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
