/** The sum over rows: the gradient of a bias. */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, runKernel } from './kernel.ts';

export const columnSumKernel = defineKernel()({
  name: 'ColumnSum',
  operands: ['dy'],
  shape: ({ dy }) => [dy[1]!],
  composite: ({ dy }) => tf.sum(dy, 0),
});

/** dy [N, M] -> [M]: the sum of its rows. */
export function columnSum(dy: Tensor): Tensor {
  return runKernel(columnSumKernel, { dy }, {});
}
