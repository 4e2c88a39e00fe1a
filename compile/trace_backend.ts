/** The TF.js backend of a trace: computes shapes, holds no data, and writes down each kernel call. */
import { type Tensor, type TensorInfo, tf } from '../model/tf.ts';
import { elementCount, sameShape } from './buffers.ts';
import { coreKernel, coreKernelNames } from './core_shapes.ts';
import { kernelTraits } from './kernel_table.ts';
import type { Attribute, Buffer, Call, Program } from './program.ts';

/** A step that cannot become a program: what it did, and what to write instead. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

/** A kernel's operands as TF.js hands them over: an object by name, or the array of a kernel that takes any number. */
type Operands = Readonly<Record<string, TensorInfo | undefined>>;

/** The attributes of TF.js's kernel `Fill`. */
export interface FillAttributes {
  readonly shape: readonly number[];
  readonly value: number | string;
  readonly dtype?: tf.DataType;
}

/** The backend: a tensor's data id stands for a buffer of the program. */
export class TraceBackend extends tf.KernelBackend {
  readonly #program: string;
  readonly #buffers: Buffer[] = [];
  readonly #calls: Call[] = [];
  readonly #updates = new Map<number, number>();
  readonly #bufferOf = new WeakMap<object, number>();
  #live = 0;

  constructor(program: string) {
    super();
    this.#program = program;
  }

  /** Adds a buffer. @returns a tensor that stands for it. */
  declare(buffer: Buffer): TensorInfo {
    const dataId = {};
    this.#bufferOf.set(dataId, this.#buffers.length);
    this.#buffers.push(buffer);
    this.#live++;
    const dtype = buffer.storage === 'float32' || buffer.storage === 'bf16' ? 'float32' : 'int32';
    return { dataId, shape: [...buffer.shape], dtype };
  }

  /** Refuses a name that is asked for again as something else. */
  expectSame(known: Tensor, asked: Buffer): void {
    const buffer = this.#buffers[this.#index(known, 'the scope')]!;
    const same =
      buffer.role === asked.role &&
      buffer.storage === asked.storage &&
      buffer.group === asked.group &&
      sameShape(buffer.shape, asked.shape);
    if (!same) this.#fail(`'${asked.name}' is asked for as ${textOf(asked)}, and was ${textOf(buffer)} before`);
  }

  update(state: Tensor, value: Tensor): void {
    const to = this.#index(state, 'update');
    const from = this.#index(value, 'update');
    const { name, role, shape } = this.#buffers[to]!;
    const given = this.#buffers[from]!;
    if (role !== 'state') this.#fail(`update: '${name}' is of role ${role}; only states are updated`);
    if (this.#updates.has(to)) this.#fail(`update: '${name}' is updated twice; combine the two values into one`);
    if (given.storage !== 'float32' || !sameShape(given.shape, shape)) {
      this.#fail(`update: '${name}' is float32[${shape}], and its new value is ${given.storage}[${given.shape}]`);
    }
    this.#updates.set(to, from);
  }

  /** Records a call. @returns a tensor that stands for its result. */
  record(kernel: string, inputs: Operands, given: object): TensorInfo {
    const core = coreKernel(kernel);
    const operands = operandOrder(kernel, inputs).map((name) => this.#index(inputs[name]!, kernel));
    const shapes = operands.map((operand) => this.#buffers[operand]!.shape);
    const moves = kernel === 'Reshape' || kernel === 'Identity' || kernel === 'Cast';
    if (core !== undefined && !moves) this.#expectFloat(kernel, operands);
    try {
      const attributes = core === undefined ? plainAttributes(given) : core.attributes({ ...given }, shapes);
      const { outputs, storage = 'float32' } = kernelTraits(kernel);
      const result = this.declare({
        name: `${kernel}:${this.#calls.length}`,
        shape: [...outputs(shapes, attributes)[0]!],
        storage: moves ? this.#buffers[operands[0]!]!.storage : storage,
        role: 'temporary',
        group: 'activations',
      });
      this.#calls.push({ kernel, inputs: operands, outputs: [this.#buffers.length - 1], attributes });
      return result;
    } catch (error) {
      this.#fail(`${kernel}: ${(error as Error).message}`);
    }
  }

  /** A tensor filled with one value: a constant. */
  fill({ shape, value, dtype }: FillAttributes): TensorInfo {
    const values = new Float32Array(elementCount(shape)).fill(Number(value));
    return this.#constant(values, [...shape], dtype ?? 'float32');
  }

  /** Refuses a kernel of TF.js that programs cannot hold. */
  refuse(kernel: string): never {
    this.#fail(
      `the step uses TF.js's kernel '${kernel}', which programs cannot hold. Write it with ${coreKernelNames.join(', ')} ` +
        'or a kernel of model/kernels/, or define a named kernel there whose composite uses it',
    );
  }

  /** Content that the step brings with it: a constant. */
  override write(values: tf.BackendValues, shape: number[], dtype: tf.DataType): object {
    return this.#constant(values as ArrayLike<number>, shape, dtype).dataId;
  }

  #constant(values: ArrayLike<number>, shape: readonly number[], dtype: tf.DataType): TensorInfo {
    if (dtype !== 'float32' && dtype !== 'int32')
      this.#fail(`the step makes a ${dtype} tensor; programs hold float32 and int32`);
    const data = dtype === 'int32' ? Int32Array.from(values) : Float32Array.from(values);
    const name = `constant:${this.#buffers.length}`;
    return this.declare({ name, shape: [...shape], storage: dtype, role: 'constant', group: 'activations', data });
  }

  /** The whole program: what the step returned are its outputs; updates become copies after every other call. */
  finish(outputs: Readonly<Record<string, Tensor>>): Program {
    const named: Record<string, number> = {};
    for (const [name, tensor] of Object.entries(outputs)) {
      const buffer = this.#index(tensor, `output '${name}'`);
      // An output that is a state's old content must survive the update.
      named[name] = this.#updates.has(buffer) ? this.#copy(buffer) : buffer;
      const other = this.#buffers.findIndex((each) => each.name === name);
      if (other >= 0 && other !== buffer)
        this.#fail(`output '${name}' has the name of a buffer of role ${this.#buffers[other]!.role}`);
    }
    // States that exchange their contents are copied before any is overwritten.
    const values = [...this.#updates].map(([state, value]) => [
      state,
      this.#updates.has(value) ? this.#copy(value) : value,
    ]);
    for (const [state, value] of values) {
      this.#calls.push({ kernel: 'Identity', inputs: [value!], outputs: [state!], attributes: {} });
    }
    return { name: this.#program, buffers: this.#buffers, calls: this.#calls, outputs: named };
  }

  #copy(buffer: number): number {
    this.record('Identity', { x: this.#infoOf(buffer) }, {});
    return this.#buffers.length - 1;
  }

  #infoOf(buffer: number): TensorInfo {
    const dataId = {};
    this.#bufferOf.set(dataId, buffer);
    return { dataId, shape: [...this.#buffers[buffer]!.shape], dtype: 'float32' };
  }

  #index(tensor: TensorInfo, user: string): number {
    const buffer = this.#bufferOf.get(tensor.dataId);
    if (buffer !== undefined) return buffer;
    this.#fail(
      `${user}: a tensor made outside the step; ask the scope for it: scope.weight, scope.state or scope.input`,
    );
  }

  #expectFloat(kernel: string, operands: readonly number[]): void {
    const odd = operands.map((operand) => this.#buffers[operand]!).find(({ storage }) => storage !== 'float32');
    if (odd === undefined) return;
    this.#fail(
      `${kernel} takes '${odd.name}', which is stored as ${odd.storage}; core kernels compute in float32 alone: ` +
        'ask the scope for float32, or use a kernel of model/kernels/ that takes it',
    );
  }

  #fail(what: string): never {
    throw new TraceError(`trace '${this.#program}': ${what}`);
  }

  override readSync(dataId: object): never {
    const buffer = this.#bufferOf.get(dataId);
    const name = buffer === undefined ? 'a tensor' : `'${this.#buffers[buffer]!.name}'`;
    this.#fail(
      `the step reads the content of ${name} (dataSync, data, array or print), which is not there while it is traced: ` +
        'return it as an output and read it after a run',
    );
  }

  override read(dataId: object): never {
    return this.readSync(dataId);
  }

  override move(): never {
    this.#fail(
      'a tensor made outside the step enters it; ask the scope for it: scope.weight, scope.state or scope.input',
    );
  }

  override disposeData(): boolean {
    this.#live--;
    return true;
  }

  override incRef(): void {}
  decRef(): void {}
  override refCount(): number {
    return 1;
  }
  override numDataIds(): number {
    return this.#live;
  }
  override memory(): { unreliable: boolean } {
    return { unreliable: false };
  }
  override floatPrecision(): 16 | 32 {
    return 32;
  }
  override epsilon(): number {
    return 1e-7;
  }
  override timerAvailable(): boolean {
    return false;
  }
  override dispose(): void {}
}

/** The names of the operands that are given, in the order in which programs list them. */
function operandOrder(kernel: string, inputs: Operands): readonly string[] {
  const given = Object.keys(inputs).filter((name) => inputs[name] !== undefined);
  const core = coreKernel(kernel);
  return core === undefined || core.operands === 'list' ? given : core.operands;
}

/** A named kernel's attributes, less those that are absent. */
function plainAttributes(given: object): Record<string, Attribute> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function textOf({ role, storage, shape, group }: Buffer): string {
  return `${role} ${storage}[${shape}] of ${group}`;
}
