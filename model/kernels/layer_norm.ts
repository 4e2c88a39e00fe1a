/** Layer normalization over the last axis (Ba, Kiros, Hinton 2016), and its gradients. */
import { type Tensor, tf } from '../tf.ts';
import { columnSum } from './column_sum.ts';
import { defineKernel, expectShape, runKernel, sumOf } from './kernel.ts';

type Epsilon = { epsilon: number };

/** x [N, C] -> (x - mean) / sqrt(variance + epsilon), and 1 / sqrt(variance + epsilon) [N, 1]. */
function normalize(x: Tensor, epsilon: number): { normalized: Tensor; inverseDeviation: Tensor } {
  const centered = tf.sub(x, tf.mean(x, 1, true));
  const inverseDeviation = tf.rsqrt(tf.add(tf.mean(tf.square(centered), 1, true), epsilon));
  return { normalized: tf.mul(centered, inverseDeviation), inverseDeviation };
}

export const layerNormKernel = defineKernel<Epsilon>()({
  name: 'LayerNorm',
  operands: ['x', 'gain', 'bias'],
  shape({ x, gain, bias }) {
    expectShape('LayerNorm', 'gain', gain, [x[1]!]);
    expectShape('LayerNorm', 'bias', bias, [x[1]!]);
    return [...x];
  },
  composite({ x, gain, bias }, { epsilon }) {
    const { normalized } = normalize(x, epsilon);
    return tf.add(tf.mul(normalized, gain), bias);
  },
  gradient: {
    saves: ['x', 'gain'],
    of: (dy, { x, gain }, { epsilon }) => ({
      x: () => runKernel(layerNormBackwardInputKernel, { dy, x, gain }, { epsilon }),
      gain: () => runKernel(layerNormBackwardGainKernel, { dy, x }, { epsilon }),
      bias: () => columnSum(dy),
    }),
  },
});

export const layerNormBackwardInputKernel = defineKernel<Epsilon>()({
  name: 'LayerNormBackwardInput',
  operands: ['dy', 'x', 'gain'],
  optional: ['added'],
  shape({ x, added }) {
    if (added !== undefined) expectShape('LayerNormBackwardInput', 'added', added, x);
    return [...x];
  },
  composite({ dy, x, gain, added }, { epsilon }) {
    const { normalized, inverseDeviation } = normalize(x, epsilon);
    const dNormalized = tf.mul(dy, gain);
    // Shifting or scaling a row of x leaves its normalized row as it was: those two directions are projected out.
    const alongOnes = tf.mean(dNormalized, 1, true);
    const alongRow = tf.mul(normalized, tf.mean(tf.mul(dNormalized, normalized), 1, true));
    return sumOf(tf.mul(tf.sub(tf.sub(dNormalized, alongOnes), alongRow), inverseDeviation), added);
  },
});

export const layerNormBackwardGainKernel = defineKernel<Epsilon>()({
  name: 'LayerNormBackwardGain',
  operands: ['dy', 'x'],
  shape: ({ x }) => [x[1]!],
  composite: ({ dy, x }, { epsilon }) => tf.sum(tf.mul(dy, normalize(x, epsilon).normalized), 0),
});

/** Normalizes each row of x [N, C] to mean 0 and variance 1, then scales by gain [C] and shifts by bias [C]. */
export function layerNorm(x: Tensor, gain: Tensor, bias: Tensor, epsilon: number): Tensor {
  return runKernel(layerNormKernel, { x, gain, bias }, { epsilon });
}
