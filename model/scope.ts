/** Where a step gets its tensors from: what the tracer in compile/ and the eager scope of eager_scope.ts implement. */
import type { Tensor } from './tf.ts';

/** How the elements of a weight are stored. TF.js sees float32 for float32 and bf16, int32 for int32 and uint8. */
export type Storage = 'float32' | 'bf16' | 'int32' | 'uint8';

/** What memory is for, in reports of peak memory. */
export type Group = 'weights' | 'adapters' | 'optimizer' | 'activations';

/** The content of a tensor on the host. */
export type TensorData = Float32Array | Int32Array | Uint8Array;

/**
 * What a step asks for by name. A name asked for twice gives the same tensor.
 * The shape, storage and group are the step's demand: an implementation that cannot meet it throws.
 */
export interface Scope {
  /** A tensor that never changes. */
  weight(name: string, shape: readonly number[], storage: Storage, group: Group): Tensor;
  /** A float32 tensor that is kept between runs and changed by `update`. */
  state(name: string, shape: readonly number[], group: Group): Tensor;
  /** A tensor that the caller gives anew for each run. */
  input(name: string, shape: readonly number[], dtype: 'float32' | 'int32'): Tensor;
  /** Makes `value` the state's content for the next run. `state` itself must not be read after this. */
  update(state: Tensor, value: Tensor): void;
}

/** A step: asks a scope for its tensors and computes named outputs. Traced once, then replayed; or run eagerly. */
export type Step<Outputs extends string = string> = (scope: Scope) => Readonly<Record<Outputs, Tensor>>;
