/** One kernel call to be checked: its operands, and what it must give according to an oracle in float64. */
import { type Addon, loadAddon, type NativeExecutable } from '../../native/addon.ts';

export type Storage = 'float32' | 'bf16' | 'int32' | 'uint8';
export type Attributes = Readonly<Record<string, number | boolean | readonly number[]>>;

export interface Operand {
  readonly shape: readonly number[];
  readonly storage: Storage;
  readonly data: Float32Array | Int32Array | Uint8Array;
}

export interface KernelCase {
  readonly kernel: string;
  /** What is particular about this case. */
  readonly label: string;
  readonly operands: readonly Operand[];
  readonly attributes: Attributes;
  readonly output: readonly number[];
  readonly expected: ArrayLike<number>;
  /** Largest error, relative to the largest expected element. */
  readonly tolerance: number;
  readonly scratch?: readonly number[];
  /** The operand whose memory the output takes. */
  readonly inPlace?: number;
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

/** A float32 operand of uniform numbers, `scale` at most in absolute value. */
export function floats(shape: readonly number[], scale = 1): Operand {
  const next = random(seed++);
  return { shape, storage: 'float32', data: Float32Array.from({ length: size(shape) }, () => scale * next()) };
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

/** Loads a case as a program of one call, its output and scratch filled with NaN, its operands written. */
export function load(test: KernelCase, threads: number): { executable: NativeExecutable; output: number } {
  const operands = test.operands.map(({ shape, storage }, i) => ({ name: `operand ${i}`, shape, storage }));
  const fresh = (name: string, shape: readonly number[]) => ({ name, shape, storage: 'float32' as const });
  const added = test.inPlace === undefined ? [fresh('output', test.output)] : [];
  const output = test.inPlace ?? operands.length;
  const scratch = test.scratch === undefined ? [] : [fresh('scratch', test.scratch)];
  const buffers = [...operands, ...added, ...scratch];
  const call = {
    kernel: test.kernel,
    inputs: operands.map((_, i) => i),
    outputs: [output],
    attributes: test.attributes,
    ...(test.scratch === undefined ? {} : { scratch: buffers.length - 1 }),
  };
  const program = { name: test.kernel, buffers, calls: [call] };
  const { Executable } = addon();
  const executable = new Executable(program, layOut(buffers), { device: 'cpu', threads });
  for (let i = operands.length; i < buffers.length; i++) {
    executable.write(i, new Float32Array(size(buffers[i]!.shape)).fill(Number.NaN));
  }
  for (const [i, { data }] of test.operands.entries()) executable.write(i, data);
  return { executable, output };
}

/** Runs a case once. @returns its output. */
export function run(test: KernelCase, threads = 1): Float32Array {
  const { executable, output } = load(test, threads);
  try {
    executable.run();
    return executable.read(output) as Float32Array;
  } finally {
    executable.dispose();
  }
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
