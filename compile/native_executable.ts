/** Runs a program on the native runtime, on the CPU or a GPU: one arena, no JavaScript and no allocation in a run. */
import {
  type Addon,
  type ExecutableOptions,
  type NativeExecutable as Loaded,
  loadAddon,
  type Precision,
} from '../native/addon.ts';
import { refuseIfTooLarge } from './available_memory.ts';
import { HostAccess, type HostData } from './host_access.ts';
import type { Executable, Plan, Program } from './program.ts';

/** An executable that can say what memory it really takes. */
export interface NativeExecutable extends Executable {
  /** Bytes of the arena as allocated. */
  readonly arenaBytes: number;
  /** Bytes of the host's memory in which paged states lie, as allocated. */
  readonly pagedBytes: number;
  /** The end of the highest byte of the arena that any call touches. */
  readonly highWaterBytes: number;
  /** Bytes outside the arena: packing buffers of each thread and kernels' own, fixed at load. */
  readonly workspaceBytes: number;
}

/**
 * Loads a program that has been through the passes.
 * @param threads how many the kernels may use; results do not depend on it.
 * @returns why the addon cannot be had on this machine, if it cannot.
 * @throws OutOfMemory if the machine has not the memory that the plan needs; Error if the runtime refuses the program.
 */
export function loadNative(
  program: Program,
  plan: Plan,
  threads: number,
): NativeExecutable | { readonly unavailable: string } {
  const addon = loadAddon();
  if ('unavailable' in addon) return addon;
  refuseIfTooLarge(program.name, plan.arenaBytes + plan.paged.bytes, 'cpu');
  return new AddonExecutable(addon, program, plan, { device: 'cpu', threads });
}

/** An executable on a GPU. A run is queued when `run` returns; `read` waits for it. */
export interface CudaExecutable extends NativeExecutable {
  /** Runs `count` times. @returns milliseconds of each, by events on the device. */
  time(count: number): Float32Array;
  /** Runs once, call by call. @returns milliseconds of each call of the program, by events on the device. */
  profile(): Float32Array;
}

/**
 * Loads a program that has been through the passes on the first GPU.
 * @param precision of products.
 * @returns why there is no GPU to be used, if there is none.
 * @throws OutOfMemory if the GPU, or the host, has not the memory that the plan needs of it; Error if the runtime refuses the program, or the GPU
 * lacks memory for the runtime's workspace: what was needed, and what there was.
 */
export function loadCuda(
  program: Program,
  plan: Plan,
  precision: Precision,
): CudaExecutable | { readonly unavailable: string } {
  const addon = loadAddon();
  if ('unavailable' in addon) return addon;
  const unavailable = addon.cudaUnavailable();
  if (unavailable !== undefined) return { unavailable };
  refuseIfTooLarge(program.name, plan.arenaBytes, 'cuda');
  refuseIfTooLarge(program.name, plan.paged.bytes, 'cpu', 'paged');
  return new AddonExecutable(addon, program, plan, { device: 'cuda', precision });
}

class AddonExecutable implements CudaExecutable {
  readonly program: Program;
  readonly plan: Plan;
  readonly backend: string;
  readonly arenaBytes: number;
  readonly pagedBytes: number;
  readonly highWaterBytes: number;
  readonly workspaceBytes: number;
  readonly #access: HostAccess;
  #loaded: Loaded | undefined;

  constructor(addon: Addon, program: Program, plan: Plan, options: ExecutableOptions) {
    this.program = program;
    this.plan = plan;
    this.#access = new HostAccess(program);
    this.#loaded = new addon.Executable(program, plan, options);
    this.backend = options.device === 'cuda' ? 'cuda' : 'cpu-native';
    this.arenaBytes = this.#loaded.arenaBytes;
    this.pagedBytes = this.#loaded.pagedBytes;
    this.highWaterBytes = this.#loaded.highWaterBytes;
    this.workspaceBytes = this.#loaded.workspaceBytes;
  }

  write(name: string, data: HostData): void {
    this.#use().write(this.#access.writable(name, data), data);
  }

  read(name: string): HostData {
    return this.#use().read(this.#access.readable(name));
  }

  run(): void {
    this.#use().run();
  }

  time(count: number): Float32Array {
    return this.#use().time(count);
  }

  profile(): Float32Array {
    return this.#use().profile();
  }

  dispose(): void {
    this.#loaded?.dispose();
    this.#loaded = undefined;
  }

  #use(): Loaded {
    if (this.#loaded === undefined) throw new Error(`program '${this.program.name}' is disposed; load it again`);
    return this.#loaded;
  }
}
