/** The loss of a language model, from hidden states and the tied output table, so that a program never holds all logits. */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel, type Shape } from './kernel.ts';
import { oneHot } from './one_hot.ts';

/** Rows whose logits a native kernel holds at a time. */
const chunkRows = 64;

type Operands<V> = Readonly<Record<'hidden' | 'table' | 'targets', V>>;

function expectOperands(kernel: string, { hidden, table, targets }: Operands<Shape>): void {
  expectShape(kernel, 'hidden', hidden, [null, table[1]!]);
  expectShape(kernel, 'targets', targets, [hidden[0]!]);
}

const scratch = ({ table }: Operands<Shape>): number[] => [chunkRows, table[0]!];

/** Log-probabilities [N, V], one-hot targets [N, V] (a row of zeros where there is no target), and 1 where there is one [N, 1]. */
function predict({ hidden, table, targets }: Operands<Tensor>): { logProbs: Tensor; chosen: Tensor; counted: Tensor } {
  const logProbs = tf.logSoftmax(tf.matMul(hidden, table, false, true));
  const counted = tf.cast(tf.expandDims(tf.greaterEqual(targets, 0), 1), 'float32');
  const ids = tf.maximum(targets, tf.scalar(0, 'int32'));
  return { logProbs, chosen: tf.mul(oneHot(ids, table.shape[0]!), counted), counted };
}

/** [N, V]: the gradient of the mean loss with respect to the logits, times dLoss. */
function logitsGradient(dLoss: Tensor, operands: Operands<Tensor>): Tensor {
  const { logProbs, chosen, counted } = predict(operands);
  const difference = tf.sub(tf.mul(tf.exp(logProbs), counted), chosen);
  return tf.mul(difference, tf.div(dLoss, tf.maximum(tf.sum(counted), 1)));
}

export const crossEntropyKernel = defineKernel()({
  name: 'CrossEntropy',
  operands: ['hidden', 'table', 'targets'],
  shape(shapes) {
    expectOperands('CrossEntropy', shapes);
    return [];
  },
  composite(operands) {
    const { logProbs, chosen, counted } = predict(operands);
    return tf.div(tf.neg(tf.sum(tf.mul(logProbs, chosen))), tf.maximum(tf.sum(counted), 1));
  },
  gradient: {
    saves: ['hidden', 'table', 'targets'],
    of: (dLoss, operands) => ({
      hidden: () => runKernel(crossEntropyBackwardHiddenKernel, { dLoss, ...operands }, {}),
      table: () => runKernel(crossEntropyBackwardTableKernel, { dLoss, ...operands }, {}),
    }),
  },
  scratch,
});

export const crossEntropyBackwardHiddenKernel = defineKernel()({
  name: 'CrossEntropyBackwardHidden',
  operands: ['dLoss', 'hidden', 'table', 'targets'],
  shape(shapes) {
    expectOperands('CrossEntropyBackwardHidden', shapes);
    return [...shapes.hidden];
  },
  composite: ({ dLoss, ...operands }) => tf.matMul(logitsGradient(dLoss, operands), operands.table),
  scratch,
});

export const crossEntropyBackwardTableKernel = defineKernel()({
  name: 'CrossEntropyBackwardTable',
  operands: ['dLoss', 'hidden', 'table', 'targets'],
  shape(shapes) {
    expectOperands('CrossEntropyBackwardTable', shapes);
    return [...shapes.table];
  },
  composite: ({ dLoss, ...operands }) => tf.matMul(logitsGradient(dLoss, operands), operands.hidden, true, false),
  scratch,
});

export const tokenLogProbKernel = defineKernel()({
  name: 'TokenLogProb',
  operands: ['hidden', 'table', 'targets'],
  shape(shapes) {
    expectOperands('TokenLogProb', shapes);
    return [shapes.hidden[0]!];
  },
  composite(operands) {
    const { logProbs, chosen } = predict(operands);
    return tf.sum(tf.mul(logProbs, chosen), 1);
  },
  scratch,
});

/**
 * The mean, over rows that have a target, of -log softmax(hidden tableᵀ)[target]; 0 if no row has one.
 * @param hidden [N, C]
 * @param table [V, C]: the token embeddings, tied to the output.
 * @param targets int32 [N]; a negative target leaves its row out.
 * @returns a scalar, in nats.
 */
export function crossEntropy(hidden: Tensor, table: Tensor, targets: Tensor): Tensor {
  return runKernel(crossEntropyKernel, { hidden, table, targets }, {});
}

/** As `crossEntropy`, but each row's log softmax(hidden tableᵀ)[target]: [N], 0 where the target is negative. No gradient. */
export function tokenLogProb(hidden: Tensor, table: Tensor, targets: Tensor): Tensor {
  return runKernel(tokenLogProbKernel, { hidden, table, targets }, {});
}
