/** Runs a program's calls one by one on a TF.js backend: the fallback where there is no addon, and the native runtime's oracle. */
import { roundToBfloat16 } from '../model/float16.ts';
import { runKernel } from '../model/kernels/kernel.ts';
import { startBackend, type Tensor, type TfBackend, tf } from '../model/tf.ts';
import { elementCount, rootOf, sameShape, usesOf } from './buffers.ts';
import { HostAccess, type HostData } from './host_access.ts';
import { kernelTraits, namedKernel } from './kernel_table.ts';
import type { Call, Executable, Plan, Program, Storage } from './program.ts';
import { onBackend } from './tf_engine.ts';

/**
 * Loads a program for a TF.js backend, which is started if it has not been.
 * @returns an executable whose memory is TF.js's own; the plan it shows is the one that a native runtime would follow.
 */
export async function loadTfjs(
  program: Program,
  plan: Plan,
  backend: Exclude<TfBackend, 'tensorflow'>,
): Promise<Executable> {
  await startBackend(backend);
  return new TfjsExecutable(program, plan, backend);
}

class TfjsExecutable implements Executable {
  readonly program: Program;
  readonly plan: Plan;
  readonly backend: string;
  readonly #tfBackend: string;
  readonly #access: HostAccess;
  /** The content of each buffer's memory, under its root. */
  readonly #tensors: (Tensor | undefined)[];
  /** For each call, the roots of the temporaries that no later call or output needs. */
  readonly #dying: readonly (readonly number[])[];
  #disposed = false;

  constructor(program: Program, plan: Plan, backend: string) {
    this.program = program;
    this.plan = plan;
    this.backend = `tfjs-${backend}`;
    this.#tfBackend = backend;
    this.#access = new HostAccess(program);
    this.#tensors = new Array(program.buffers.length).fill(undefined);
    this.#dying = dyingAfter(program);
    this.#onBackend(() => {
      program.buffers.forEach(({ data }, index) => {
        if (data !== undefined) this.#store(index, data);
      });
    });
  }

  write(name: string, data: HostData): void {
    const index = this.#access.writable(name, data);
    this.#onBackend(() => this.#store(index, data));
  }

  read(name: string): HostData {
    const index = this.#access.readable(name);
    return this.#onBackend(() => {
      const data = this.#root(rootOf(this.program, index)).dataSync<'float32'>();
      return this.program.buffers[index]!.storage === 'uint8' ? Uint8Array.from(data) : data.slice();
    });
  }

  run(): void {
    this.#onBackend(() => {
      this.program.calls.forEach((call, position) => {
        this.#run(call);
        for (const root of this.#dying[position]!) this.#free(root);
      });
    });
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#onBackend(() => {
      for (const index of this.#tensors.keys()) this.#free(index);
    });
    this.#disposed = true;
  }

  #run(call: Call): void {
    const output = call.outputs[0]!;
    const root = rootOf(this.program, output);
    const { shape } = this.program.buffers[root]!;
    const result = tf.tidy(() => {
      const inputs = call.inputs.map((input) => this.#operand(input));
      const result = runCall(call, inputs);
      // A kernel may hand back its operand, which dies on its own.
      const value = inputs.includes(result) ? tf.clone(result) : result;
      // In the shape of the memory's owner, and kept: neither this tidy nor one of the caller's may take it.
      return tf.keep(sameShape(value.shape, shape) ? value : tf.reshape(value, [...shape]));
    });
    this.#free(root);
    this.#tensors[root] = result;
  }

  #operand(buffer: number): Tensor {
    const tensor = this.#root(rootOf(this.program, buffer));
    const { shape } = this.program.buffers[buffer]!;
    return sameShape(tensor.shape, shape) ? tensor : tf.reshape(tensor, [...shape]);
  }

  /** What the memory of a buffer holds; zeros if nothing was written yet, as in a fresh arena. */
  #root(root: number): Tensor {
    const known = this.#tensors[root];
    if (known !== undefined) return known;
    const { shape, storage } = this.program.buffers[root]!;
    const size = elementCount(shape);
    return this.#store(
      root,
      storage === 'float32' || storage === 'bf16' ? new Float32Array(size) : new Int32Array(size),
    );
  }

  #store(index: number, data: HostData): Tensor {
    const { shape, storage } = this.program.buffers[index]!;
    const dtype = storage === 'float32' || storage === 'bf16' ? 'float32' : 'int32';
    const tensor = tf.keep(tf.tensor(asSeenByTfjs(storage, data), [...shape], dtype));
    this.#free(index);
    this.#tensors[index] = tensor;
    return tensor;
  }

  #free(index: number): void {
    this.#tensors[index]?.dispose();
    this.#tensors[index] = undefined;
  }

  #onBackend<T>(work: () => T): T {
    if (this.#disposed) throw new Error(`program '${this.program.name}' is disposed; load it again`);
    return onBackend(this.#tfBackend, work);
  }
}

/** A copy, since TF.js's cpu backend keeps the array that it is given. */
function asSeenByTfjs(storage: Storage, data: HostData): Float32Array | Int32Array {
  switch (storage) {
    case 'float32':
      return Float32Array.from(data);
    case 'bf16':
      return roundToBfloat16(Float32Array.from(data));
    case 'int32':
    case 'uint8':
      return Int32Array.from(data);
  }
}

function runCall(call: Call, inputs: readonly Tensor[]): Tensor {
  const names = kernelTraits(call.kernel).names(inputs.length);
  const named = Object.fromEntries(names.map((name, position) => [name, inputs[position]!]));
  const definition = namedKernel(call.kernel);
  if (definition !== undefined) return runKernel(definition, named, call.attributes);
  const operands = call.kernel === 'Concat' ? [...inputs] : named;
  return tf
    .engine()
    .runKernel(call.kernel, operands as tf.NamedTensorMap, call.attributes as object as tf.NamedAttrMap) as Tensor;
}

function dyingAfter(program: Program): number[][] {
  const dying: number[][] = program.calls.map(() => []);
  const uses = usesOf(program);
  program.buffers.forEach(({ role, view }, index) => {
    if (role !== 'temporary' || view !== undefined) return;
    const { reads, writes } = uses[index]!;
    const last = Math.max(-1, ...reads, ...writes);
    dying[last]?.push(index);
  });
  return dying;
}
