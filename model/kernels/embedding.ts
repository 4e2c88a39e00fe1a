/** Looking up rows of a table, and adding gradients back into them. */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel } from './kernel.ts';
import { oneHot } from './one_hot.ts';

export const embeddingKernel = defineKernel()({
  name: 'Embedding',
  operands: ['table', 'ids'],
  shape({ table, ids }) {
    expectShape('Embedding', 'table', table, [null, null]);
    return [...ids, table[1]!];
  },
  composite: ({ table, ids }) => tf.gather(table, ids),
  gradient: {
    saves: ['table', 'ids'],
    of: (dy, { table, ids }) => ({
      table: () => runKernel(embeddingBackwardKernel, { dy, ids }, { rows: table.shape[0]! }),
    }),
  },
});

export const embeddingBackwardKernel = defineKernel<{ rows: number }>()({
  name: 'EmbeddingBackward',
  operands: ['dy', 'ids'],
  shape: ({ dy }, { rows }) => [rows, dy.at(-1)!],
  // A scatter-add as a product with one-hot rows: the wasm backend has no segment sum.
  composite({ dy, ids }, { rows }) {
    const selected = oneHot(tf.reshape(ids, [-1]), rows);
    return tf.matMul(selected, tf.reshape(dy, [-1, dy.shape.at(-1)!]), true, false);
  },
});

/** table [V, C], ids int32 [B, T] -> [B, T, C]: the row of each id. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  return runKernel(embeddingKernel, { table, ids }, {});
}
