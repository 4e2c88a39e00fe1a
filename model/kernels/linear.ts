/** The affine map y = x Wᵀ + b, with weights held as [out, in], and its gradients. */
import { type Tensor, tf } from '../tf.ts';
import { columnSum } from './column_sum.ts';
import { defineKernel, expectShape, runKernel, sumOf } from './kernel.ts';

export const linearKernel = defineKernel()({
  name: 'Linear',
  operands: ['x', 'weight'],
  optional: ['bias', 'added'],
  shape({ x, weight, bias, added }) {
    expectShape('Linear', 'x', x, [null, weight[1]!]);
    if (bias !== undefined) expectShape('Linear', 'bias', bias, [weight[0]!]);
    if (added !== undefined) expectShape('Linear', 'added', added, [x[0]!, weight[0]!]);
    return [x[0]!, weight[0]!];
  },
  composite: ({ x, weight, bias, added }) => sumOf(tf.matMul(x, weight, false, true), bias, added),
  gradient: {
    saves: ['x', 'weight'],
    of: (dy, { x, weight }) => ({
      x: () => runKernel(linearBackwardInputKernel, { dy, weight }, {}),
      weight: () => runKernel(linearBackwardWeightKernel, { dy, x }, {}),
      bias: () => columnSum(dy),
    }),
  },
});

export const linearBackwardInputKernel = defineKernel()({
  name: 'LinearBackwardInput',
  operands: ['dy', 'weight'],
  optional: ['added'],
  shape({ dy, weight, added }) {
    expectShape('LinearBackwardInput', 'dy', dy, [null, weight[0]!]);
    if (added !== undefined) expectShape('LinearBackwardInput', 'added', added, [dy[0]!, weight[1]!]);
    return [dy[0]!, weight[1]!];
  },
  composite: ({ dy, weight, added }) => sumOf(tf.matMul(dy, weight), added),
});

export const linearBackwardWeightKernel = defineKernel()({
  name: 'LinearBackwardWeight',
  operands: ['dy', 'x'],
  shape({ dy, x }) {
    expectShape('LinearBackwardWeight', 'x', x, [dy[0]!, null]);
    return [dy[1]!, x[1]!];
  },
  composite: ({ dy, x }) => tf.matMul(dy, x, true, false),
});

/** x [N, in], weight [out, in], bias [out] -> x Wᵀ + b [N, out]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  return runKernel(linearKernel, bias === undefined ? { x, weight } : { x, weight, bias }, {});
}
