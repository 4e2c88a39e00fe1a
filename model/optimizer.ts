/** One AdamW step over a list of parameters, their gradients' global norm clipped. */
import { adamWMean, adamWUpdate, adamWVariance, globalNorm } from './kernels/adamw.ts';
import type { Scope } from './scope.ts';
import { type Tensor, tf } from './tf.ts';

export interface AdamW {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled weight decay: a share of the parameter, times the learning rate. */
  readonly weightDecay: number;
  /** Gradients are scaled down to this global norm; 0 leaves them as they are. */
  readonly maxNorm: number;
}

/** A float32 state that is trained. */
export interface Parameter {
  readonly name: string;
  readonly tensor: Tensor;
  /** Whether weight decay pulls on it. */
  readonly decays: boolean;
}

/**
 * Computes a loss and moves the parameters against its gradient. Moments are the states `NAME.mean` and `NAME.variance`.
 * @param loss a scalar that depends on every parameter.
 * @param hyper [2]: the learning rate, and the number of this step counted from 1.
 * @returns the loss before the step [], and the gradients' global norm before clipping [1].
 */
export function minimize(
  scope: Scope,
  parameters: readonly Parameter[],
  loss: () => Tensor,
  hyper: Tensor,
  { beta1, beta2, epsilon, weightDecay, maxNorm }: AdamW,
): { loss: Tensor; norm: Tensor } {
  const tensors = parameters.map(({ tensor }) => tensor);
  const { value, grads } = tf.valueAndGrads(() => loss() as tf.Scalar)(tensors);
  const norm = globalNorm(grads);
  parameters.forEach(({ name, tensor, decays }, i) => {
    const mean = scope.state(`${name}.mean`, tensor.shape, 'optimizer');
    const variance = scope.state(`${name}.variance`, tensor.shape, 'optimizer');
    const newMean = adamWMean(mean, grads[i]!, norm, { beta1, maxNorm });
    const newVariance = adamWVariance(variance, grads[i]!, norm, { beta2, maxNorm });
    const decay = decays ? weightDecay : 0;
    scope.update(mean, newMean);
    scope.update(variance, newVariance);
    scope.update(
      tensor,
      adamWUpdate(tensor, newMean, newVariance, hyper, { beta1, beta2, epsilon, weightDecay: decay }),
    );
  });
  return { loss: value, norm };
}
