/** Loads programs for a stage: on the device that its task computes on, saying what that is and what memory they take there. */
import { OutOfMemory } from '../../compile/available_memory.ts';
import { type LoadOptions, load } from '../../compile/executable.ts';
import { type Gpu, openGpu } from '../../compile/gpu.ts';
import { peakMemory } from '../../compile/memory.ts';
import type { CudaExecutable } from '../../compile/native_executable.ts';
import type { Executable } from '../../compile/program.ts';
import { trace } from '../../compile/trace.ts';
import { StageError } from '../../engine/stage.ts';
import type { Step } from '../../model/scope.ts';
import { gigabytes } from './format.ts';

/** What of a stage's context loading needs. */
export interface Host {
  readonly cpus: number;
  readonly device: 'cpu' | 'cuda';
  warn(message: string): void;
  measure(name: string, value: number | string): void;
}

/**
 * Traces a step and loads its program; the record says which backend it ran on. On a GPU it also says which one, and in bytes what
 * memory the program takes: as planned by group, the runtime's workspace, and all of the GPU that is in use before and after.
 * @throws StageError when there is no GPU that can be used; NoRoom when the device lacks memory.
 */
export async function loadStep(
  name: string,
  step: Step,
  host: Host,
  options: Pick<LoadOptions, 'precision' | 'rematerialize' | 'budget'> = {},
): Promise<Executable> {
  const program = trace(name, step);
  if (host.device === 'cpu') {
    const executable = await refusingNoRoom(name, () =>
      load(program, { ...options, threads: host.cpus, onFallback: host.warn }),
    );
    host.measure('backend', executable.backend);
    measurePaged(name, executable, host);
    return executable;
  }
  const gpu = openGpu();
  if ('unavailable' in gpu) {
    throw new StageError(`no GPU can be used: ${gpu.unavailable}; \`--device cpu\` computes on the CPU`);
  }
  const before = gpu.usedBytes();
  const executable = await refusingNoRoom(name, () => load(program, { ...options, device: 'cuda' }));
  host.measure('backend', executable.backend);
  host.measure('GPU', gpu.name);
  if (!known.has(host)) {
    known.add(host);
    host.measure('GPU bytes in use before', before);
  }
  measureMemory(name, executable, gpu, before, host);
  return executable;
}

/** The device has no room for a program; nothing has run. */
export class NoRoom extends StageError {
  /** Bytes that are free. */
  readonly free: number;

  constructor(step: string, { needed, memory }: OutOfMemory) {
    const [wanted, free, total] = [needed, memory.free, memory.total].map(gigabytes);
    super(`the ${step} needs ${wanted} GB (planned), and ${free} of ${total} GB are free`);
    this.free = memory.free;
  }
}

function noRoomOnHost(step: string, { needed, memory }: OutOfMemory): StageError {
  const [wanted, free, total] = [needed, memory.free, memory.total].map(gigabytes);
  return new StageError(
    `the ${step} pages ${wanted} GB of the optimizer's moments to the host (planned), where ${free} of ${total} GB are free: let it have more of the device (memory_budget, paged_optimizer), or train less (rank, targets)`,
  );
}

async function refusingNoRoom<T>(step: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof OutOfMemory)) throw error;
    throw error.need === 'arena' ? new NoRoom(step, error) : noRoomOnHost(step, error);
  }
}

/** Tasks that have said what was in use before their first program. */
const known = new WeakSet<Host>();

function measureMemory(name: string, executable: CudaExecutable, gpu: Gpu, before: number, host: Host): void {
  const { total, paged: _, ...groups } = peakMemory(executable.plan);
  const used = gpu.usedBytes();
  for (const [group, bytes] of Object.entries(groups)) host.measure(`${name}: planned bytes of ${group}`, bytes);
  host.measure(`${name}: planned bytes`, total);
  measurePaged(name, executable, host);
  host.measure(`${name}: workspace bytes`, executable.workspaceBytes);
  host.measure(`${name}: bytes as the driver sees them`, used - before);
  host.measure('GPU bytes in use', used);
}

function measurePaged(name: string, { plan }: Executable, host: Host): void {
  if (plan.paged.bytes > 0) host.measure(`${name}: planned bytes of optimizer paged to the host`, plan.paged.bytes);
}

/** The place of each token in its row: [0 .. length) for each of `batch` rows. */
export function rowPositions(batch: number, length: number): Int32Array {
  return Int32Array.from({ length: batch * length }, (_, i) => i % length);
}
