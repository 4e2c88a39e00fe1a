/** Runs a program on the native runtime: one arena, no JavaScript and no allocation in a run. */
import { type Addon, type NativeExecutable as Loaded, loadAddon } from '../native/addon.ts';
import { HostAccess, type HostData } from './host_access.ts';
import type { Executable, Plan, Program } from './program.ts';

/** An executable that can say what memory it really takes. */
export interface NativeExecutable extends Executable {
  /** Bytes of the arena as allocated. */
  readonly arenaBytes: number;
  /** The end of the highest byte of the arena that any call touches. */
  readonly highWaterBytes: number;
  /** Bytes outside the arena: packing buffers of each thread and kernels' own, fixed at load. */
  readonly workspaceBytes: number;
}

/**
 * Loads a program that has been through the passes.
 * @param threads how many the kernels may use; results do not depend on it.
 * @returns why the addon cannot be had on this machine, if it cannot.
 * @throws Error if the runtime refuses the program, or has no memory for its arena.
 */
export function loadNative(
  program: Program,
  plan: Plan,
  threads: number,
): NativeExecutable | { readonly unavailable: string } {
  const addon = loadAddon();
  return 'unavailable' in addon ? addon : new AddonExecutable(addon, program, plan, threads);
}

class AddonExecutable implements NativeExecutable {
  readonly program: Program;
  readonly plan: Plan;
  readonly backend = 'cpu-native';
  readonly arenaBytes: number;
  readonly highWaterBytes: number;
  readonly workspaceBytes: number;
  readonly #access: HostAccess;
  #loaded: Loaded | undefined;

  constructor(addon: Addon, program: Program, plan: Plan, threads: number) {
    this.program = program;
    this.plan = plan;
    this.#access = new HostAccess(program);
    this.#loaded = new addon.Executable(program, plan, { device: 'cpu', threads });
    this.arenaBytes = this.#loaded.arenaBytes;
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

  dispose(): void {
    this.#loaded?.dispose();
    this.#loaded = undefined;
  }

  #use(): Loaded {
    if (this.#loaded === undefined) throw new Error(`program '${this.program.name}' is disposed; load it again`);
    return this.#loaded;
  }
}
