/** Steps run kernel by kernel on the current TF.js backend, over arrays by name: the oracle of traced programs. */
import { roundToBfloat16 } from './float16.ts';
import type { Scope, Step, Storage, TensorData } from './scope.ts';
import { type Tensor, tf } from './tf.ts';

type Dtype = 'float32' | 'int32';

/** What a step asks for is made from arrays on the host at each run, and what it updates goes back to them. */
export class EagerScope implements Scope {
  readonly #contents: Map<string, TensorData>;
  /** What the running step has asked for. */
  readonly #tensors = new Map<string, Tensor>();
  readonly #updates = new Map<Tensor, Tensor>();

  /** @param contents weights, states and inputs by name; a state that is absent begins as zeros. */
  constructor(contents: Iterable<readonly [string, TensorData]>) {
    this.#contents = new Map(contents);
  }

  weight(name: string, shape: readonly number[], storage: Storage): Tensor {
    return this.#tensor(name, shape, storage === 'float32' || storage === 'bf16' ? 'float32' : 'int32', (content) =>
      storage === 'bf16' ? roundToBfloat16(Float32Array.from(content)) : content,
    );
  }

  state(name: string, shape: readonly number[]): Tensor {
    if (!this.#contents.has(name)) this.#contents.set(name, new Float32Array(elements(shape)));
    return this.#tensor(name, shape, 'float32');
  }

  input(name: string, shape: readonly number[], dtype: Dtype): Tensor {
    return this.#tensor(name, shape, dtype);
  }

  update(state: Tensor, value: Tensor): void {
    this.#updates.set(state, tf.keep(value));
  }

  /** Sets the content of a weight, state or input for the next run. */
  write(name: string, content: TensorData): void {
    this.#contents.set(name, content);
  }

  /** The content of a weight, state or input. @throws Error when there is none of that name. */
  read(name: string): TensorData {
    const content = this.#contents.get(name);
    if (content === undefined) throw new Error(`the scope holds no '${name}'`);
    return content;
  }

  /**
   * Runs a step once, keeps its updates for the next run, and gives its outputs.
   * @throws Error when the step asks for something that has no content or another number of elements.
   */
  run<Outputs extends string>(step: Step<Outputs>): Record<Outputs, Float32Array> {
    try {
      const outputs = tf.tidy(() =>
        Object.entries<Tensor>(step(this)).map(([name, tensor]) => [name, contentOf(tensor)]),
      );
      for (const [name, tensor] of this.#tensors) {
        const update = this.#updates.get(tensor);
        if (update !== undefined) this.#contents.set(name, contentOf(update));
      }
      return Object.fromEntries(outputs) as Record<Outputs, Float32Array>;
    } finally {
      for (const tensor of [...this.#tensors.values(), ...this.#updates.values()]) tensor.dispose();
      this.#tensors.clear();
      this.#updates.clear();
    }
  }

  #tensor(
    name: string,
    shape: readonly number[],
    dtype: Dtype,
    stored: (content: TensorData) => TensorData = (content) => content,
  ): Tensor {
    const known = this.#tensors.get(name);
    if (known !== undefined) {
      if (known.shape.join() === shape.join() && known.dtype === dtype) return known;
      throw new Error(`'${name}' is ${known.dtype} [${known.shape}], and was asked for again as ${dtype} [${shape}]`);
    }
    const content = stored(this.read(name));
    if (content.length !== elements(shape)) {
      throw new Error(`'${name}' has shape [${shape}]: ${elements(shape)} elements, but there are ${content.length}`);
    }
    const array = dtype === 'int32' ? Int32Array.from(content) : Float32Array.from(content);
    // Kept, because the step may first ask for it inside a tidy of its own.
    const tensor = tf.keep(tf.tensor(array, [...shape], dtype));
    this.#tensors.set(name, tensor);
    return tensor;
  }
}

function elements(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

function contentOf(tensor: Tensor): Float32Array {
  return tensor.dataSync<'float32'>().slice();
}
