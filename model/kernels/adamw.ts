/** AdamW (Loshchilov, Hutter 2019, algorithm 2) with the gradients' global norm clipped. */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel } from './kernel.ts';

export const globalNormKernel = defineKernel()({
  name: 'GlobalNorm',
  operands: 'variadic',
  shape: () => [1],
  composite(gradients) {
    const squares = Object.values<Tensor>(gradients).map((g) => tf.reshape(tf.sum(tf.square(g)), [1]));
    return tf.sqrt(tf.addN(squares));
  },
});

/** The gradient scaled so that the norm of all gradients together is at most maxNorm; as it is if maxNorm is 0. */
function clip(gradient: Tensor, norm: Tensor, maxNorm: number): Tensor {
  if (maxNorm === 0) return gradient;
  return tf.mul(gradient, tf.minimum(1, tf.div(maxNorm, tf.add(norm, 1e-6))));
}

export const adamWMeanKernel = defineKernel<{ beta1: number; maxNorm: number }>()({
  name: 'AdamWMean',
  operands: ['mean', 'gradient', 'norm'],
  shape({ mean, gradient }) {
    expectShape('AdamWMean', 'gradient', gradient, mean);
    return [...mean];
  },
  composite: ({ mean, gradient, norm }, { beta1, maxNorm }) =>
    tf.add(tf.mul(mean, beta1), tf.mul(clip(gradient, norm, maxNorm), 1 - beta1)),
  inPlace: 'mean',
});

export const adamWVarianceKernel = defineKernel<{ beta2: number; maxNorm: number }>()({
  name: 'AdamWVariance',
  operands: ['variance', 'gradient', 'norm'],
  shape({ variance, gradient }) {
    expectShape('AdamWVariance', 'gradient', gradient, variance);
    return [...variance];
  },
  composite: ({ variance, gradient, norm }, { beta2, maxNorm }) =>
    tf.add(tf.mul(variance, beta2), tf.mul(tf.square(clip(gradient, norm, maxNorm)), 1 - beta2)),
  inPlace: 'variance',
});

type UpdateAttributes = { beta1: number; beta2: number; epsilon: number; weightDecay: number };

/** moment / (1 - beta^step). As expm1, because in float32 1 - beta^step loses half its digits in the first steps. */
function unbias(moment: Tensor, beta: number, step: Tensor): Tensor {
  return tf.div(moment, tf.neg(tf.expm1(tf.mul(step, Math.log(beta)))));
}

export const adamWUpdateKernel = defineKernel<UpdateAttributes>()({
  name: 'AdamWUpdate',
  operands: ['parameter', 'mean', 'variance', 'hyper'],
  shape({ parameter, mean, variance, hyper }) {
    expectShape('AdamWUpdate', 'mean', mean, parameter);
    expectShape('AdamWUpdate', 'variance', variance, parameter);
    expectShape('AdamWUpdate', 'hyper', hyper, [2]);
    return [...parameter];
  },
  composite({ parameter, mean, variance, hyper }, { beta1, beta2, epsilon, weightDecay }) {
    const [learningRate, step] = tf.split(hyper, 2) as [Tensor, Tensor];
    const direction = tf.div(unbias(mean, beta1, step), tf.add(tf.sqrt(unbias(variance, beta2, step)), epsilon));
    return tf.sub(parameter, tf.mul(learningRate, tf.add(direction, tf.mul(parameter, weightDecay))));
  },
  inPlace: 'parameter',
});

/** The square root of the sum of squares of all elements of all gradients: [1]. */
export function globalNorm(gradients: readonly Tensor[]): Tensor {
  return runKernel(globalNormKernel, Object.fromEntries(gradients.map((gradient, i) => [`g${i}`, gradient])), {});
}

/** beta1 mean + (1 - beta1) c gradient, where c = min(1, maxNorm / (norm + 1e-6)), or 1 if maxNorm is 0. */
export function adamWMean(
  mean: Tensor,
  gradient: Tensor,
  norm: Tensor,
  attributes: { beta1: number; maxNorm: number },
): Tensor {
  return runKernel(adamWMeanKernel, { mean, gradient, norm }, attributes);
}

/** beta2 variance + (1 - beta2) (c gradient)², with c as in `adamWMean`. */
export function adamWVariance(
  variance: Tensor,
  gradient: Tensor,
  norm: Tensor,
  attributes: { beta2: number; maxNorm: number },
): Tensor {
  return runKernel(adamWVarianceKernel, { variance, gradient, norm }, attributes);
}

/**
 * parameter - lr ((mean / (1 - beta1^t)) / (sqrt(variance / (1 - beta2^t)) + epsilon) + weightDecay parameter).
 * @param hyper [2]: the learning rate lr and the step t, counted from 1.
 */
export function adamWUpdate(
  parameter: Tensor,
  mean: Tensor,
  variance: Tensor,
  hyper: Tensor,
  attributes: UpdateAttributes,
): Tensor {
  return runKernel(adamWUpdateKernel, { parameter, mean, variance, hyper }, attributes);
}
