/** The library that injects faults into one process: compiled once, configured by variables (see shim.cc). */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repository } from '../support/checkout.ts';

/** A fault that a process is to meet while it works below a folder. */
export interface Fault {
  readonly under: string;
  readonly operations: 'write' | 'read' | 'publish';
  /** The number of the operation, from 1; 0 meets none. */
  readonly at: number;
  readonly what: 'kill' | 'EIO' | 'ENOSPC' | 'EROFS' | { readonly clockSteps: number };
  /** Whether every later operation meets it too. */
  readonly lasts?: boolean;
  /** A file that is given the number of operations. */
  readonly countIn?: string;
}

const errors = { EIO: 5, ENOSPC: 28, EROFS: 30 } as const;

let library: string | { readonly missing: string } | undefined;

/** The path of the library, or why there is none here. */
function compiled(): string | { readonly missing: string } {
  if (library === undefined) {
    const out = join(repository, 'build', 'test', `fault-shim-${process.pid}.so`);
    try {
      if (process.platform !== 'linux') throw new Error('LD_PRELOAD is of Linux');
      mkdirSync(join(out, '..'), { recursive: true });
      const args = ['-shared', '-fPIC', '-O1', '-o', out, join(import.meta.dirname, 'shim.cc'), '-ldl'];
      execFileSync(process.env.CXX ?? 'g++', args, { stdio: 'pipe' });
      library = out;
    } catch (thrown) {
      library = { missing: `no library that injects faults could be compiled: ${(thrown as Error).message}` };
    }
  }
  return library;
}

/** Why faults cannot be injected into system calls here; null when they can. */
export function missingShim(): string | null {
  const found = compiled();
  return typeof found === 'string' ? null : found.missing;
}

/** The environment in which a process meets a fault. */
export function meeting({ under, operations, at, what, lasts, countIn }: Fault): Record<string, string> {
  const path = compiled();
  if (typeof path !== 'string') throw new Error(path.missing);
  return {
    LD_PRELOAD: path,
    PIPE_FAULT_UNDER: under,
    PIPE_FAULT_OPS: operations,
    PIPE_FAULT_AT: String(at),
    ...(typeof what === 'object'
      ? { PIPE_FAULT_CLOCK: String(what.clockSteps) }
      : { PIPE_FAULT_DO: what === 'kill' ? what : String(errors[what]) }),
    ...(lasts ? { PIPE_FAULT_LASTS: '1' } : {}),
    ...(countIn === undefined ? {} : { PIPE_FAULT_COUNT: countIn }),
  };
}

/** The number that a process has written to `countIn`. */
export const countedIn = (path: string) => Number(readFileSync(path, 'utf8'));
