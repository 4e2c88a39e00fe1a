/** A low-rank update of some columns of a linear map's output (LoRA: Hu et al. 2021, section 4.1), and its gradients. */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel } from './kernel.ts';

/** The update is scaled by `scale` and added to the columns from `offset` on. */
type Placement = { scale: number; offset: number };

export const loraMatMulKernel = defineKernel<Placement>()({
  name: 'LoraMatMul',
  operands: ['y', 'x', 'a', 'b'],
  shape({ y, x, a, b }, { offset }) {
    expectShape('LoraMatMul', 'x', x, [y[0]!, null]);
    expectShape('LoraMatMul', 'a', a, [null, x[1]!]);
    expectShape('LoraMatMul', 'b', b, [null, a[0]!]);
    if (offset < 0 || offset + b[0]! > y[1]!) {
      throw new Error(`LoraMatMul: columns ${offset} to ${offset + b[0]!} lie outside y, which has ${y[1]}`);
    }
    return [...y];
  },
  composite({ y, x, a, b }, { scale, offset }) {
    const update = tf.mul(tf.matMul(tf.matMul(x, a, false, true), b, false, true), scale);
    const after = y.shape[1]! - offset - b.shape[0]!;
    return tf.add(
      y,
      tf.pad(update, [
        [0, 0],
        [offset, after],
      ]),
    );
  },
  gradient: {
    saves: ['x', 'a', 'b'],
    of(dy, { x, a, b }, { scale, offset }) {
      // Both A's gradient and x's need it. Here it outlives the scopes in which TF.js calls the functions below.
      const dHidden = runKernel(loraBackwardHiddenKernel, { dy, b }, { scale, offset });
      return {
        y: () => tf.clone(dy),
        x: () => tf.matMul(dHidden, a),
        a: () => tf.matMul(dHidden, x, true, false),
        b: () => runKernel(loraBackwardBKernel, { dy, x, a }, { scale, offset, width: b.shape[0]! }),
      };
    },
  },
  inPlace: 'y',
});

export const loraBackwardHiddenKernel = defineKernel<Placement>()({
  name: 'LoraBackwardHidden',
  operands: ['dy', 'b'],
  shape: ({ dy, b }) => [dy[0]!, b[1]!],
  composite({ dy, b }, { scale, offset }) {
    const columns = tf.slice(dy, [0, offset], [-1, b.shape[0]!]);
    return tf.mul(tf.matMul(columns, b), scale);
  },
});

export const loraBackwardBKernel = defineKernel<Placement & { width: number }>()({
  name: 'LoraBackwardB',
  operands: ['dy', 'x', 'a'],
  shape: ({ a }, { width }) => [width, a[0]!],
  composite({ dy, x, a }, { scale, offset, width }) {
    const columns = tf.slice(dy, [0, offset], [-1, width]);
    return tf.mul(tf.matMul(columns, tf.matMul(x, a, false, true), true, false), scale);
  },
});

/**
 * y with scale (x Aᵀ) Bᵀ added to its columns offset .. offset + width.
 * @param y [N, out]
 * @param x [N, in]
 * @param a [rank, in]
 * @param b [width, rank]
 */
export function loraMatMul(y: Tensor, x: Tensor, a: Tensor, b: Tensor, placement: Placement): Tensor {
  return runKernel(loraMatMulKernel, { y, x, a, b }, placement);
}
