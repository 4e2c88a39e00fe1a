/** Where a step gets its tensors from: implemented by the tracer in compile/, and here eagerly over plain tensors. */
import { roundToBfloat16 } from './float16.ts';
import { type Tensor, tf } from './tf.ts';

/** How the elements of a weight are stored. TF.js sees float32 for float32 and bf16, int32 for int32 and uint8. */
export type Storage = 'float32' | 'bf16' | 'int32' | 'uint8';

/** What memory is for, in reports of peak memory. */
export type Group = 'weights' | 'adapters' | 'optimizer' | 'activations';

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

/** The content of a tensor on the host. */
export type TensorData = Float32Array | Int32Array | Uint8Array;

/**
 * A scope over plain tensors: steps run kernel by kernel on the current TF.js backend. The oracle of traced programs.
 * A weight that is stored as bf16 is rounded to it.
 */
export class EagerScope implements Scope {
  readonly #tensors = new Map<string, Tensor>();
  readonly #names = new Map<number, string>();
  readonly #data: ReadonlyMap<string, TensorData>;
  readonly #updates = new Map<string, Tensor>();

  /** @param data content of weights, states and inputs by name; a state that is absent begins as zeros. */
  constructor(data: ReadonlyMap<string, TensorData>) {
    this.#data = data;
  }

  weight(name: string, shape: readonly number[], storage: Storage, _group: Group): Tensor {
    const data = this.#data.get(name);
    if (storage === 'bf16' && data !== undefined) {
      return this.#tensor(name, shape, 'float32', roundToBfloat16(Float32Array.from(data)));
    }
    return this.#tensor(name, shape, storage === 'int32' || storage === 'uint8' ? 'int32' : 'float32', data);
  }

  state(name: string, shape: readonly number[], _group: Group): Tensor {
    return this.#tensor(
      name,
      shape,
      'float32',
      this.#data.get(name) ?? new Float32Array(shape.reduce((a, b) => a * b, 1)),
    );
  }

  input(name: string, shape: readonly number[], dtype: 'float32' | 'int32'): Tensor {
    return this.#tensor(name, shape, dtype, this.#data.get(name));
  }

  update(state: Tensor, value: Tensor): void {
    const name = this.#names.get(state.id);
    if (name === undefined) throw new Error('update: the tensor is no state of this scope');
    this.#updates.set(name, tf.keep(value));
  }

  /** Replaces the content of a weight, state or input. */
  write(name: string, data: TensorData): void {
    const old = this.#tensors.get(name);
    if (old === undefined) throw new Error(`write: the step never asked for '${name}'`);
    this.#replace(name, this.#make(name, old.shape, old.dtype as 'float32' | 'int32', data));
  }

  /** The current content of a weight, state or input. @throws Error when the step never asked for it. */
  read(name: string): Float32Array | Int32Array {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new Error(`read: the step never asked for '${name}'`);
    return tensor.dataSync<'float32'>().slice();
  }

  /** Runs a step once, applies its updates, and returns its outputs' contents. */
  run<Outputs extends string>(step: Step<Outputs>): Record<Outputs, Float32Array> {
    const contents = tf.tidy(() =>
      Object.entries<Tensor>(step(this)).map(([name, tensor]) => [name, tensor.dataSync<'float32'>().slice()]),
    );
    for (const [name, value] of this.#updates) this.#replace(name, value);
    this.#updates.clear();
    return Object.fromEntries(contents) as Record<Outputs, Float32Array>;
  }

  /** Frees every tensor. */
  dispose(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose();
    this.#tensors.clear();
    this.#names.clear();
  }

  #tensor(name: string, shape: readonly number[], dtype: 'float32' | 'int32', data: TensorData | undefined): Tensor {
    const known = this.#tensors.get(name);
    if (known === undefined) {
      if (data === undefined) throw new Error(`the scope was given no content for '${name}'`);
      return this.#replace(name, this.#make(name, shape, dtype, data));
    }
    if (known.shape.join() !== shape.join())
      throw new Error(`'${name}' has shape [${known.shape}], and was asked for as [${shape}]`);
    return known;
  }

  #make(name: string, shape: readonly number[], dtype: 'float32' | 'int32', data: TensorData): Tensor {
    const size = shape.reduce((a, b) => a * b, 1);
    if (data.length !== size)
      throw new Error(`'${name}' has shape [${shape}]: ${size} elements, but ${data.length} were given`);
    const typed = dtype === 'int32' ? Int32Array.from(data) : Float32Array.from(data);
    return tf.keep(tf.tensor(typed, [...shape], dtype));
  }

  #replace(name: string, tensor: Tensor): Tensor {
    const old = this.#tensors.get(name);
    if (old !== undefined) {
      this.#names.delete(old.id);
      old.dispose();
    }
    this.#tensors.set(name, tensor);
    this.#names.set(tensor.id, name);
    return tensor;
  }
}
