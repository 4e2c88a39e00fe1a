/** One kernel call to be checked: its operands, and what it must give according to an oracle in float64. */
import {
  type Addon,
  type ExecutableOptions,
  loadAddon,
  type NativeExecutable,
  type NativeProgram,
} from '../../native/addon.ts';

export type Storage = 'float32' | 'bf16' | 'int32' | 'uint8';
export type Attributes = Readonly<Record<string, number | boolean | readonly number[]>>;

/** A buffer as a program names it. */
type ProgramBuffer = NativeProgram['buffers'][number];

export interface Operand {
  readonly shape: readonly number[];
  readonly storage: Storage;
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** One output: its shape, and what it must hold. */
export interface Result {
  readonly output: readonly number[];
  readonly expected: ArrayLike<number>;
  /** The operand whose memory the output takes. */
  readonly inPlace?: number;
  /** Otherwise float32. */
  readonly storage?: 'float32' | 'bf16' | 'int32' | 'uint8';
}

export interface KernelCase extends Result {
  readonly kernel: string;
  /** What is particular about this case. */
  readonly label: string;
  readonly operands: readonly Operand[];
  readonly attributes: Attributes;
  /** Outputs after the first. */
  readonly further?: readonly Result[];
  /** Largest error, relative to the largest expected element of an output. */
  readonly tolerance: number;
  readonly scratch?: readonly number[];
}

/** The addon, or an error: these tests cannot run without it. */
export function addon(): Addon {
  const loaded = loadAddon();
  if ('unavailable' in loaded) throw new Error(loaded.unavailable);
  return loaded;
}

/** Uniform numbers in [-1, 1) from a seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

export function size(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

let seed = 1;
let rounded = false;

/** Makes the operands of cases made from now on other ones; numbers that bf16 can hold, if they are to be rounded. */
export function reseed(from: number, toRound = false): void {
  seed = from;
  rounded = toRound;
}

/** A float32 operand of uniform numbers, `scale` at most in absolute value. */
export function floats(shape: readonly number[], scale = 1): Operand {
  const next = random(seed++);
  const number = () => (rounded ? toBf16(scale * next()) : scale * next());
  return { shape, storage: 'float32', data: Float32Array.from({ length: size(shape) }, number) };
}

/** The same, stored as bf16; `data` holds the values as rounded. */
export function halves(shape: readonly number[], scale = 1): Operand {
  return { shape, storage: 'bf16', data: floats(shape, scale).data.map(toBf16) as Float32Array };
}

export function float32(shape: readonly number[], values: Iterable<number>): Operand {
  return { shape, storage: 'float32', data: Float32Array.from(values) };
}

export function int32(shape: readonly number[], values: Iterable<number>): Operand {
  return { shape, storage: 'int32', data: Int32Array.from(values) };
}

export function bytes(shape: readonly number[], values: Iterable<number>): Operand {
  return { shape, storage: 'uint8', data: Uint8Array.from(values) };
}

/** Whole numbers in [0, below). */
export function naturals(count: number, below: number): number[] {
  const next = random(seed++);
  return Array.from({ length: count }, () => Math.floor(((next() + 1) / 2) * below));
}

/** The nearest number with 8 significant bits, a tie going to the even one (normal numbers). */
export function toBf16(x: number): number {
  if (x === 0 || !Number.isFinite(x)) return x;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(x))) - 7);
  const quotient = x / unit;
  const below = Math.floor(quotient);
  const rest = quotient - below;
  const up = rest > 0.5 || (rest === 0.5 && below % 2 !== 0);
  return (below + (up ? 1 : 0)) * unit;
}

const bytesOf: Readonly<Record<Storage, number>> = { float32: 4, bf16: 2, int32: 4, uint8: 1 };

/** Lays buffers out one after the other, at multiples of 64 bytes. */
export function layOut(buffers: readonly { shape: readonly number[]; storage: Storage }[]): {
  arenaBytes: number;
  offsets: number[];
} {
  const offsets: number[] = [];
  let end = 0;
  for (const { shape, storage } of buffers) {
    offsets.push(end);
    end = Math.ceil((end + size(shape) * bytesOf[storage]) / 64) * 64;
  }
  return { arenaBytes: end, offsets };
}

/** A loaded case, ready to run. */
export interface LoadedCase {
  readonly executable: NativeExecutable;
  /** Runs it and gives its outputs. @throws Error if it wrote anywhere but in its outputs and scratch. */
  run(): Float32Array[];
}

const guard: ProgramBuffer = { name: 'guard', shape: [64], storage: 'uint8' };
const guarding = new Uint8Array(64).fill(0xa5);

/** Every output of a case. */
export function resultsOf(test: KernelCase): readonly Result[] {
  return [test, ...(test.further ?? [])];
}

/** What no kernel should give. */
const poison: Readonly<Record<Storage, (n: number) => Operand['data']>> = {
  float32: (n) => new Float32Array(n).fill(Number.NaN),
  bf16: (n) => new Float32Array(n).fill(Number.NaN),
  int32: (n) => new Int32Array(n).fill(-123456789),
  uint8: (n) => new Uint8Array(n).fill(0x5a),
};

/** Loads a case as a program of one call: outputs and scratch hold NaN, and a guard follows each buffer. */
export function load(test: KernelCase, options: ExecutableOptions): LoadedCase {
  const operands = test.operands.map(
    ({ shape, storage }, i): ProgramBuffer => ({ name: `operand ${i}`, shape, storage }),
  );
  const poisoned: ProgramBuffer[] = [];
  const fresh = (name: string, shape: readonly number[], storage: Storage): number => {
    poisoned.push({ name, shape, storage });
    return 2 * (operands.length + poisoned.length - 1);
  };
  const outputs = resultsOf(test).map(({ output, storage = 'float32', inPlace }, i) =>
    inPlace === undefined ? fresh(`output ${i}`, output, storage) : 2 * inPlace,
  );
  const scratch = test.scratch === undefined ? {} : { scratch: fresh('scratch', test.scratch, 'float32') };
  const buffers = [...operands, ...poisoned].flatMap((buffer) => [buffer, guard]);
  const call = {
    kernel: test.kernel,
    inputs: operands.map((_, i) => 2 * i),
    outputs,
    attributes: test.attributes,
    ...scratch,
  };
  const { Executable } = addon();
  const program = { name: test.kernel, buffers, calls: [call] };
  const executable = new Executable(program, layOut(buffers), options);
  for (const [i, { data }] of test.operands.entries()) executable.write(2 * i, data);
  for (const [i, { shape, storage }] of poisoned.entries()) {
    const n = size(shape);
    executable.write(2 * (operands.length + i), poison[storage](n));
  }
  for (let i = 1; i < buffers.length; i += 2) executable.write(i, guarding);
  const expectKept = (buffer: number, data: Operand['data']) => {
    if (bits(executable.read(buffer)).equals(bits(data))) return;
    throw new Error(`${test.kernel} (${test.label}) wrote over ${buffers[buffer]!.name} (buffer ${buffer})`);
  };
  return {
    executable,
    run() {
      executable.run();
      for (const [i, { data }] of test.operands.entries()) if (!outputs.includes(2 * i)) expectKept(2 * i, data);
      for (let i = 1; i < buffers.length; i += 2) expectKept(i, guarding);
      return outputs.map((output) => executable.read(output) as Float32Array);
    },
  };
}

/** The CPU with this many threads. */
export function cpu(threads: number): ExecutableOptions {
  return { device: 'cpu', threads };
}

/** Runs a case once. @returns its outputs. */
export function run(test: KernelCase, options: ExecutableOptions = cpu(1)): Float32Array[] {
  const loaded = load(test, options);
  try {
    return loaded.run();
  } finally {
    loaded.executable.dispose();
  }
}

/** The bytes of an array, or of several, to be compared. */
export function bits(values: Operand['data'] | readonly Operand['data'][]): Buffer {
  if (Array.isArray(values)) return Buffer.concat(values.map(bits));
  const { buffer, byteOffset, byteLength } = values as Operand['data'];
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** The largest error of a case's outputs. */
export function errorIn(test: KernelCase, outputs: readonly Float32Array[]): number {
  return Math.max(...resultsOf(test).map(({ expected }, i) => errorOf(outputs[i]!, expected)));
}

/** The largest difference between two lists, relative to the largest expected element; NaN counts as infinite. */
export function errorOf(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let largest = Number.MIN_VALUE;
  let error = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (Number.isNaN(difference)) return Number.POSITIVE_INFINITY;
    largest = Math.max(largest, Math.abs(expected[i]!));
    error = Math.max(error, difference);
  }
  return error === 0 ? 0 : error / largest;
}
