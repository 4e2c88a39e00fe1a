/** Loads a program: on the native runtime where the addon can be had, on TF.js otherwise. */
import { availableParallelism } from 'node:os';
import type { Precision } from '../native/addon.ts';
import { type CudaExecutable, loadCuda, loadNative } from './native_executable.ts';
import { optimize, precisionOf } from './optimize.ts';
import type { Rematerialization } from './passes/rematerialize.ts';
import { planMemory } from './plan.ts';
import { printProgram } from './print.ts';
import type { Executable, Program } from './program.ts';
import { loadTfjs } from './tfjs_executable.ts';
import { validate } from './validate.ts';

/**
 * Where a program can run. `auto` is the native runtime on the CPU, or TF.js's wasm backend on a machine that cannot build it.
 * A GPU must be asked for: it multiplies in bf16, and only who asks can say so of the result.
 */
export type Device = 'auto' | 'cuda' | 'cpu-native' | 'tfjs-wasm' | 'tfjs-cpu';

export interface LoadOptions {
  readonly device?: Device;
  /** Threads of the native runtime; by default as many as the process may use. TF.js chooses its own. */
  readonly threads?: number;
  /** What products are multiplied in on a GPU; by default what the program's weights are stored in. */
  readonly precision?: Precision;
  /** What is kept for the gradient; by default everything. */
  readonly rematerialize?: Rematerialization;
  /** Bytes of the arena beyond which optimizer states are paged to the host, as `planMemory`; by default none are. */
  readonly budget?: number;
  /** Told why `auto` does not run natively; once for each function given, however many programs are loaded. */
  readonly onFallback?: (reason: string) => void;
}

const told = new WeakSet<(reason: string) => void>();

/**
 * Takes a traced program through the passes, checks it, plans its memory and loads it.
 * With PIPE_DEBUG_PROGRAM=1 in the environment the finished program is listed on stderr.
 * @throws ProgramError if the program is wrong; OutOfMemory if the device has not the memory that the plan needs; Error if `cuda`
 * or `cpu-native` is asked for and cannot be had.
 */
export function load(program: Program, options: LoadOptions & { readonly device: 'cuda' }): Promise<CudaExecutable>;
export function load(program: Program, options?: LoadOptions): Promise<Executable>;
export async function load(program: Program, options: LoadOptions = {}): Promise<Executable> {
  const { device = 'auto', threads = availableParallelism(), onFallback } = options;
  const precision = options.precision ?? precisionOf(program);
  const { rematerialize = 'none' } = options;
  const finished = optimize(program, { rematerialize, ...(device === 'cuda' ? { gpu: precision } : {}) });
  validate(finished);
  const plan = planMemory(finished, options.budget);
  if (process.env.PIPE_DEBUG_PROGRAM === '1') process.stderr.write(`${printProgram(finished, plan)}\n`);
  if (device === 'tfjs-cpu') return loadTfjs(finished, plan, 'cpu');
  if (device === 'tfjs-wasm') return loadTfjs(finished, plan, 'wasm');

  if (device === 'cuda') {
    const cuda = loadCuda(finished, plan, precision);
    if ('unavailable' in cuda) throw new Error(`no GPU can be used: ${cuda.unavailable}; load with device 'auto'`);
    return cuda;
  }
  const native = loadNative(finished, plan, threads);
  if (!('unavailable' in native)) return native;
  if (device === 'cpu-native') {
    throw new Error(
      `the native runtime is not available: ${native.unavailable}; load with device 'auto' or 'tfjs-wasm'`,
    );
  }
  if (onFallback !== undefined && !told.has(onFallback)) {
    told.add(onFallback);
    onFallback(`running on TensorFlow.js wasm, which is slower: ${native.unavailable}`);
  }
  return loadTfjs(finished, plan, 'wasm');
}
