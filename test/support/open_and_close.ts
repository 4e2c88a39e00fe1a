/** A process that loads, runs and disposes of a thousand programs, on any device: what it has taken of memory by then. */
import type { NativeExecutable } from '../../compile/native_executable.ts';
import { optimize, type Target } from '../../compile/optimize.ts';
import { planMemory } from '../../compile/plan.ts';
import type { Plan, Program } from '../../compile/program.ts';
import { trace } from '../../compile/trace.ts';
import { loraTrainingStep } from '../../model/steps.ts';
import { adamw, bases, config, everywhere, lora } from './compiled.ts';

const programs = 1000;

/** Before them as many are loaded as fill what is allocated once: pools, libraries, what the driver keeps. */
const warmUp = 50;

/**
 * @param load loads a program that has been through the passes for `target`.
 * @param used bytes in use.
 * @returns the bytes by which use has grown, and what it would have grown by had every arena been kept.
 */
export function openAndClose(
  target: Target,
  load: (program: Program, plan: Plan) => NativeExecutable | { readonly unavailable: string },
  used: () => number,
): { readonly grown: number; readonly arenas: number } {
  const shape = { batch: 8, length: 16 };
  const step = loraTrainingStep({
    ...shape,
    config,
    lora,
    adamw,
    matrices: everywhere(bases.bf16),
    dropout: { rate: 0, seed: 0 },
  });
  const program = optimize(trace('step', step), target);
  const plan = planMemory(program);
  const once = () => {
    const executable = load(program, plan);
    if ('unavailable' in executable) throw new Error(executable.unavailable);
    executable.run();
    executable.read('loss');
    executable.dispose();
  };
  for (let i = 0; i < warmUp; i++) once();
  const before = used();
  for (let i = 0; i < programs; i++) once();
  return { grown: used() - before, arenas: programs * plan.arenaBytes };
}
