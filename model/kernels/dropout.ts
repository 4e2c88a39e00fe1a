/** Dropout (Srivastava et al. 2014) whose mask is a function of seed, site, step and index, so that any backend makes the same one. */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel } from './kernel.ts';

/** `seed` of the run; `site`, the place in the model; `rate`, the share of elements that become zero. */
type DropoutAttributes = { rate: number; seed: number; site: number };

/** Mixes 32 bits so that each depends on all (two rounds of xor-shift and multiply). */
function mix(h: number): number {
  h ^= h >>> 16;
  h = Math.imul(h, 0x7feb352d);
  h ^= h >>> 15;
  h = Math.imul(h, 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A uniform number in [0, 1), a multiple of 2^-24, for element `index` at a site and step. All arguments are taken modulo 2^32. */
export function dropoutUniform(index: number, step: number, seed: number, site: number): number {
  const keyed = (index ^ Math.imul(site, 0x9e3779b1)) + Math.imul(seed, 0x85ebca6b) + Math.imul(step, 0xc2b2ae35);
  return (mix(keyed | 0) >>> 8) * 2 ** -24;
}

export const dropoutKernel = defineKernel<DropoutAttributes>()({
  name: 'Dropout',
  operands: ['x', 'step'],
  shape({ x, step }) {
    expectShape('Dropout', 'step', step, [1]);
    return [...x];
  },
  // The mask is integer arithmetic modulo 2^32, which no TF.js tensor can do: it is made here and handed over.
  composite({ x, step }, { rate, seed, site }) {
    const at = step.dataSync()[0]!;
    const scale = 1 / (1 - rate);
    const mask = Float32Array.from({ length: x.size }, (_, i) =>
      dropoutUniform(i, at, seed, site) >= rate ? scale : 0,
    );
    return tf.mul(x, tf.tensor(mask, x.shape));
  },
  gradient: {
    saves: ['step'],
    of: (dy, { step }, attributes) => ({ x: (): Tensor => runKernel(dropoutKernel, { x: dy, step }, attributes) }),
  },
});

/** x with each element zero if its uniform number is below `rate`, else divided by 1 - rate. `step` is int32 [1]. */
export function dropout(x: Tensor, step: Tensor, attributes: DropoutAttributes): Tensor {
  return runKernel(dropoutKernel, { x, step }, attributes);
}
