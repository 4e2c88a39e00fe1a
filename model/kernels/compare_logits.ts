/** How far two models say the same, token by token, from the logits of both. */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel } from './kernel.ts';
import { oneHot } from './one_hot.ts';

/** What is told of each token, in this order. */
export const comparedColumns = ['logProb', 'top', 'referenceTop', 'referenceMargin', 'kl'] as const;

export const compareLogitsKernel = defineKernel()({
  name: 'CompareLogits',
  operands: ['logits', 'reference', 'targets'],
  shape({ logits, reference, targets }) {
    expectShape('CompareLogits', 'logits', logits, [null, null]);
    expectShape('CompareLogits', 'reference', reference, logits);
    expectShape('CompareLogits', 'targets', targets, [logits[0]!]);
    return [logits[0]!, comparedColumns.length];
  },
  composite({ logits, reference, targets }) {
    const [logProbs, referenceLogProbs] = [tf.logSoftmax(logits), tf.logSoftmax(reference)];
    const chosen = oneHot(tf.maximum(targets, tf.scalar(0, 'int32')), logits.shape[1]!);
    const [first, second] = tf.split(tf.topk(reference, 2).values, 2, 1) as [Tensor, Tensor];
    const columns: Record<(typeof comparedColumns)[number], Tensor> = {
      logProb: tf.sum(tf.mul(logProbs, chosen), 1),
      top: tf.cast(tf.argMax(logits, 1), 'float32'),
      referenceTop: tf.cast(tf.argMax(reference, 1), 'float32'),
      referenceMargin: tf.squeeze(tf.sub(first, second), [1]),
      kl: tf.sum(tf.mul(tf.exp(referenceLogProbs), tf.sub(referenceLogProbs, logProbs)), 1),
    };
    const counted = tf.cast(tf.expandDims(tf.greaterEqual(targets, 0), 1), 'float32');
    return tf.mul(tf.stack(Object.values(columns), 1), counted);
  },
});

/**
 * Compares a model with a reference at each row that has a target. No gradient.
 * @param logits [N, V] of the model, V >= 2.
 * @param reference [N, V]: the reference's.
 * @param targets int32 [N]; a negative target leaves its row out.
 * @returns [N, 5], `comparedColumns`: the model's log-probability of the target in nats, the place of the largest logit (the
 * first of equals) of the model and of the reference, how far the reference's largest is above its second, and
 * KL(reference || model) in nats. Zeros in a row without target.
 */
export function compareLogits(logits: Tensor, reference: Tensor, targets: Tensor): Tensor {
  return runKernel(compareLogitsKernel, { logits, reference, targets }, {});
}
