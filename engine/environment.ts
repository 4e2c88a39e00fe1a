/** What a task sees of the user's environment: a few variables that programs cannot do without, what it declares, its secrets. */
import type { Task } from './graph.ts';

type Variables = Readonly<Record<string, string>>;

/**
 * Variables that every task gets from where it runs: where programs and libraries lie, whose they are, their language, which
 * GPUs a cluster granted, and how programs are built, run and listed.
 */
const passedOn = [
  'PATH',
  'HOME',
  'LANG',
  'LD_LIBRARY_PATH',
  'CUDA_VISIBLE_DEVICES',
  'CXX',
  'CUDA_HOME',
  'PIPE_NATIVE',
  'PIPE_DEBUG_PROGRAM',
];

/** @returns of the named variables those that are set. */
export function pick(environment: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of names) {
    const value = environment[name];
    if (value !== undefined) found[name] = value;
  }
  return found;
}

/** The environment that a worker process starts with, and a command's below what its task declares. */
export function commonEnvironment(): Record<string, string> {
  return pick(process.env, passedOn);
}

/** The variables of a task: those of the user's that its stage asks for, over them the values that the pipeline gives. */
export function taskEnvironment({ environment, env }: Task): Variables {
  return { ...pick(process.env, environment), ...env };
}
