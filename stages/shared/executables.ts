/** Loads programs for a stage: on the threads that its task was granted, saying what they run on. */
import { load } from '../../compile/executable.ts';
import type { Executable } from '../../compile/program.ts';
import { trace } from '../../compile/trace.ts';
import type { Step } from '../../model/scope.ts';

/** What of a stage's context loading needs. */
export interface Host {
  readonly cpus: number;
  warn(message: string): void;
  measure(name: string, value: number | string): void;
}

/** Traces a step and loads its program; the record says which backend it ran on. */
export async function loadStep(name: string, step: Step, host: Host): Promise<Executable> {
  const executable = await load(trace(name, step), { threads: host.cpus, onFallback: host.warn });
  host.measure('backend', executable.backend);
  return executable;
}

/** The place of each token in its row: [0 .. length) for each of `batch` rows. */
export function rowPositions(batch: number, length: number): Int32Array {
  return Int32Array.from({ length: batch * length }, (_, i) => i % length);
}
