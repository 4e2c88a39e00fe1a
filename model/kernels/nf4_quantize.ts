/** Quantization to four bits: the scales of a matrix, and the codes of its elements. */
import { thresholdCount } from '../nf4_codebooks.ts';
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel } from './kernel.ts';

export const nf4AbsmaxKernel = defineKernel<{ block: number }>()({
  name: 'Nf4Absmax',
  operands: ['w'],
  shape: ({ w }, { block }) => [blocksIn('Nf4Absmax', w, block)],
  composite: ({ w }, { block }) => tf.max(tf.abs(tf.reshape(w, [-1, block])), 1),
});

export const nf4CodesKernel = defineKernel<{ block: number }>()({
  name: 'Nf4Codes',
  operands: ['w', 'absmax', 'thresholds'],
  shape({ w, absmax, thresholds }, { block }) {
    expectShape('Nf4Codes', 'absmax', absmax, [blocksIn('Nf4Codes', w, block)]);
    expectShape('Nf4Codes', 'thresholds', thresholds, [thresholdCount]);
    return [w[0]! / 2];
  },
  composite({ w, absmax, thresholds }, { block }) {
    const scaled = tf.reshape(tf.divNoNan(tf.reshape(w, [-1, block]), tf.reshape(absmax, [-1, 1])), [-1]);
    // One threshold after the other, each a scalar: wasm is many times as slow where two shapes are broadcast.
    const codes = tf
      .unstack(thresholds)
      .map((threshold) => tf.cast(tf.greater(scaled, threshold), 'float32'))
      .reduce((sum, exceeds) => tf.add(sum, exceeds));
    const [even, odd] = tf.split(tf.reshape(codes, [-1, 2]), 2, 1);
    return tf.cast(tf.reshape(tf.add(tf.mul(even!, 16), odd!), [-1]), 'int32');
  },
  storage: 'uint8',
});

function blocksIn(kernel: string, w: readonly number[], block: number): number {
  expectShape(kernel, 'w', w, [null]);
  if (block < 2 || block % 2 !== 0 || w[0]! % block !== 0) {
    throw new Error(`${kernel}: blocks of ${block} do not fit ${w[0]} elements: a block is even and divides them`);
  }
  return w[0]! / block;
}

/** The largest magnitude of each block of w [n]: [n / block]. Elements are finite. */
export function nf4Absmax(w: Tensor, block: number): Tensor {
  return runKernel(nf4AbsmaxKernel, { w }, { block });
}

/**
 * The code nearest to each element of w [n] over its block's scale, that of 0 in a block of zeros (QLoRA, Dettmers et al. 2023,
 * section 3): uint8 [n / 2], two codes a byte, the even element's in the high half.
 * @param absmax [n / block]
 * @param thresholds [15]: `codeThresholds` of the codebook.
 */
export function nf4Codes(w: Tensor, absmax: Tensor, thresholds: Tensor, block: number): Tensor {
  return runKernel(nf4CodesKernel, { w, absmax, thresholds }, { block });
}
