/** The native addon's types, and the one place that loads it. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { nativeBuild } from '../scripts/build-native.mjs';

/** A program as the addon takes it: the fields that it reads of compile/program.ts's Program. */
export interface NativeProgram {
  readonly name: string;
  readonly buffers: readonly {
    readonly name: string;
    readonly shape: readonly number[];
    readonly storage: 'float32' | 'bf16' | 'int32' | 'uint8';
    readonly data?: Float32Array | Int32Array;
  }[];
  readonly calls: readonly {
    readonly kernel: string;
    readonly inputs: readonly number[];
    readonly outputs: readonly number[];
    readonly scratch?: number;
    readonly attributes: Readonly<Record<string, number | boolean | string | readonly number[]>>;
  }[];
}

/** Where each buffer lies: bytes, multiples of 64, in an arena of `arenaBytes`, or in a memory of the host's beside it. */
export interface NativePlan {
  readonly arenaBytes: number;
  readonly offsets: readonly number[];
  /** The buffers that lie on the host, pinned there for a GPU; none if not given. */
  readonly paged?: { readonly bytes: number; readonly buffers: readonly number[] };
}

/** A device that programs can run on: the CPU always, then the GPUs that this process may use. */
export interface Device {
  readonly kind: 'cpu' | 'cuda';
  readonly name: string;
}

/**
 * What matrix products and attention multiply in on a GPU; sums are float32 in both. `bf16` rounds activations to bf16 as
 * they enter a product.
 */
export type Precision = 'float32' | 'bf16';

export type ExecutableOptions =
  | {
      readonly device: 'cpu';
      /** Threads that kernels may use, at least 1. Results are the same bits for any number. */
      readonly threads: number;
    }
  | {
      /** The first GPU. */
      readonly device: 'cuda';
      readonly precision: Precision;
    };

/** A loaded program over an arena of its own. Buffers are indices into the program's. */
export interface NativeExecutable {
  /**
   * Fills a buffer, whatever its role. float32 and bf16 take a Float32Array (bf16 rounds to nearest even), int32 an
   * Int32Array, uint8 a Uint8Array, with as many elements as the buffer has.
   * @throws Error for another type or length.
   */
  write(buffer: number, data: Float32Array | Int32Array | Uint8Array): void;
  /** @returns a copy of a buffer; bf16 as a Float32Array. */
  read(buffer: number): Float32Array | Int32Array | Uint8Array;
  /**
   * Runs every call once, in order; allocates nothing. On a GPU it returns when the run is queued: reading waits for it.
   * @throws Error if a token id, a target or a cache position is out of range; no call after it has run.
   */
  run(): void;
  /**
   * Runs `count` times on a GPU.
   * @returns milliseconds of each, by events on the device.
   * @throws Error on the CPU.
   */
  time(count: number): Float32Array;
  /**
   * Runs once on a GPU, call by call.
   * @returns milliseconds of each call, by events; with what its launches cost the host, where that is more.
   * @throws Error on the CPU.
   */
  profile(): Float32Array;
  /** Frees the arena at once; the executable cannot be used afterwards. */
  dispose(): void;
  readonly arenaBytes: number;
  readonly pagedBytes: number;
  /** Memory outside the arena, fixed when the program is loaded: packing buffers for each thread, and kernels' own. */
  readonly workspaceBytes: number;
  /** The end of the highest byte of the arena that any call touches. */
  readonly highWaterBytes: number;
}

export interface Addon {
  /** Names of the kernels that every device has, sorted. */
  kernels(): string[];
  devices(): Device[];
  /** Why `devices()` names no GPU; undefined if it does. */
  cudaUnavailable(): string | undefined;
  /** Bytes of the first GPU's memory, as the driver sees them. @throws Error if there is none. */
  cudaMemory(): { free: number; total: number };
  /**
   * Loads a program: checks it, allocates the arena (zeroed) and the workspace, writes the constants.
   * On a GPU every call is also run once, on zeroed memory, and the memory zeroed again.
   * @throws Error naming the buffer or call that is wrong; on a GPU, what was needed and what there was if memory lacks.
   */
  readonly Executable: new (
    program: NativeProgram,
    plan: NativePlan,
    options: ExecutableOptions,
  ) => NativeExecutable;
}

let loaded: Addon | { readonly unavailable: string } | undefined;

/**
 * The addon, built first if its sources, compiler and CPU have no build yet (some seconds, once). The answer is kept.
 * @returns why there is none: there is no C++ compiler, the build or the loading fails, or PIPE_NATIVE=off says so.
 */
export function loadAddon(): Addon | { readonly unavailable: string } {
  loaded ??= load();
  return loaded;
}

function load(): Addon | { readonly unavailable: string } {
  const build = nativeBuild();
  if ('unavailable' in build) return build;
  if (!existsSync(build.path)) {
    const failure = buildNow();
    if (failure !== undefined) return { unavailable: failure };
  }
  try {
    return createRequire(import.meta.url)(build.path) as Addon;
  } catch (error) {
    const reason = (error as Error).message;
    return { unavailable: `${build.path} cannot be loaded (remove its folder to have it built again): ${reason}` };
  }
}

/** Runs the build script and waits: compiling takes several processes, and loading must not be asynchronous. */
function buildNow(): string | undefined {
  const script = join(import.meta.dirname, '..', 'scripts', 'build-native.mjs');
  const { status, stdout, stderr, error } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
  if (status === 0) return undefined;
  return error?.message ?? (stdout + stderr).trim();
}
