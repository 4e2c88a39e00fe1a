/**
 * A program: a static list of kernel calls over buffers, made by tracing one TF.js step; and its plan: one arena, an offset a
 * buffer, and what is paged out of the arena.
 */

/** How a buffer's elements are stored. TF.js sees float32 for float32 and bf16, and int32 for int32 and uint8. */
export type Storage = 'float32' | 'bf16' | 'int32' | 'uint8';

/**
 * What a buffer is to the program:
 * `input` is written by the host before a run; `weight` is written once and never changes; `state` is written once and
 * updated in place by calls; `constant` is written at load from `data`; `temporary` lives within a run.
 * Any buffer but a temporary keeps its content between runs; outputs are named by `Program.outputs`.
 */
export type Role = 'input' | 'weight' | 'state' | 'constant' | 'temporary';

export interface Buffer {
  readonly name: string;
  readonly shape: readonly number[];
  readonly storage: Storage;
  readonly role: Role;
  /** What the memory is for, in reports of peak memory. */
  readonly group: 'weights' | 'adapters' | 'optimizer' | 'activations';
  /** Content of a constant. */
  readonly data?: Float32Array | Int32Array;
  /**
   * The buffer whose memory this one shares under another shape (a reshape that costs nothing). The two have the same
   * storage, role and number of elements, the plan gives them one offset, and the other is no view itself.
   */
  readonly view?: number;
}

/** An attribute of a call. */
export type Attribute = number | boolean | string | readonly number[];

/** One kernel call. Operands are indices into `Program.buffers`; a kernel that updates in place names a buffer on both sides. */
export interface Call {
  readonly kernel: string;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** A temporary that the kernel uses as scratch space, if it needs one. */
  readonly scratch?: number;
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface Program {
  readonly name: string;
  readonly buffers: readonly Buffer[];
  readonly calls: readonly Call[];
  /** Output name -> buffer. */
  readonly outputs: Readonly<Record<string, number>>;
}

/** Optimizer state that lies in memory of the host, where the device reads and writes it. */
export interface Paged {
  readonly bytes: number;
  /** In order of their numbers, views among them. Their offsets count from the beginning of this memory. */
  readonly buffers: readonly number[];
}

/** Where each buffer lies: in the arena, which is memory of the device, or paged. Offsets are in bytes, multiples of 64. */
export interface Plan {
  readonly arenaBytes: number;
  readonly offsets: readonly number[];
  readonly paged: Paged;
  /** Bytes of the arena by group; activations is what temporaries and inputs take at their peak. They add up to arenaBytes. */
  readonly groups: Readonly<Record<Buffer['group'], number>>;
}

/** A loaded program, ready to be run again and again. Names are those of buffers and outputs. */
export interface Executable {
  readonly program: Program;
  readonly plan: Plan;
  /** `cuda`, `cpu-native`, `tfjs-wasm` or `tfjs-cpu`. */
  readonly backend: string;
  /** Writes an input, weight or state. bf16 is written from float32 (rounded to nearest even), uint8 from Uint8Array. */
  write(name: string, data: Float32Array | Int32Array | Uint8Array): void;
  /** Reads a state or output; float32 and bf16 as Float32Array. */
  read(name: string): Float32Array | Int32Array | Uint8Array;
  /** Runs every call once. */
  run(): void;
  /** Frees the arena. */
  dispose(): void;
}
