/** One-hot rows in float32, for the composites. */
import { type Tensor, tf } from '../tf.ts';

/** ids int32 [N] -> [N, size]: 1 at each id. By way of int32, because TF.js's wasm backend writes float32 ones as the integer's bits. */
export function oneHot(ids: Tensor, size: number): Tensor {
  return tf.cast(tf.oneHot(ids, size), 'float32');
}
