/**
 * Kernels that passes make of several calls, with several outputs. TF.js has none of them: a program that holds one runs on
 * the native runtime, whose native/kernels/kernels.h says what each computes.
 */
import type { KernelTraits } from './kernel_traits.ts';

type Shape = readonly number[];

/** Where the parameters begin among the operands of `AdamW`, and how many operands and outputs each has. */
const adamW = { first: 2, operands: 4, outputs: 3 } as const;

const none = { recompute: false, scratch: () => undefined, inPlace: () => undefined } as const;

const KERNELS: Readonly<Record<string, KernelTraits>> = {
  /** The mean, the variance and the update of every parameter at once: p, m, v of each, from p, m, v, g of each. */
  AdamW: {
    ...none,
    outputs: (shapes) => shapes.slice(adamW.first).filter((_, operand) => operand % adamW.operands < adamW.outputs),
    inPlace: (output) => adamW.first + Math.floor(output / adamW.outputs) * adamW.operands + (output % adamW.outputs),
    names: (count) => [
      'norm',
      'hyper',
      ...Array.from({ length: count - adamW.first }, (_, i) => `${'pmvg'[i % 4]}${Math.floor(i / 4)}`),
    ],
  },
  /** Attention that also gives the logarithm of each softmax's denominator, [B, heads, T]. */
  CausalAttentionWithLse: {
    ...none,
    outputs: ([qkv], { heads }) => [attended(qkv!), [qkv![0]!, Number(heads), qkv![1]!]],
    names: () => ['qkv'],
  },
  /** Its gradient, given both of its outputs. */
  CausalAttentionBackwardFromLse: {
    ...none,
    outputs: ([, qkv]) => [qkv!],
    names: () => ['dy', 'qkv', 'y', 'lse'],
  },
  /** The loss and its gradient with respect to hidden states, from logits that are made once. */
  CrossEntropyWithGradient: {
    ...none,
    outputs: ([, hidden]) => [[], hidden!],
    scratch: ([, , table]) => [64, table![0]!],
    names: () => ['dLoss', 'hidden', 'table', 'targets'],
  },
  /** The scales of a matrix and the codes of its elements, from one reading of it. */
  Nf4Quantize: {
    ...none,
    outputs: ([w], { block }) => [[w![0]! / Number(block)], [w![0]! / 2]],
    names: () => ['w', 'thresholds'],
  },
};

/** @returns what is known of a kernel that a pass makes, if it is one. */
export function joinedKernel(name: string): KernelTraits | undefined {
  return Object.hasOwn(KERNELS, name) ? KERNELS[name] : undefined;
}

/** [B, T, 3C] -> [B, T, C] */
function attended(qkv: Shape): Shape {
  return qkv.with(2, qkv[2]! / 3);
}
