/** Steps with an optimizer, what they begin with, and what they come to: for tests of where its moments lie. */
import type { HostData } from '../../compile/host_access.ts';
import type { Executable } from '../../compile/program.ts';
import { loraTrainingStep, pretrainingStep } from '../../model/steps.ts';
import {
  adamw,
  bases,
  config,
  contents,
  everywhere,
  lora,
  runStep,
  shape,
  statesOf,
  writeContents,
} from './compiled.ts';

const nf4 = bases['nf4, doubly'];

export const pagedSteps = {
  'adapters on a 4-bit base': {
    content: contents(nf4),
    step: loraTrainingStep({
      ...{ ...shape, config, lora, adamw },
      matrices: everywhere(nf4),
      dropout: { rate: 0.1, seed: 7 },
    }),
  },
  'a whole model': {
    content: contents(bases.bf16),
    step: pretrainingStep({ ...shape, config, adamw: { ...adamw, maxNorm: 1 } }),
  },
};

/** Takes so many steps. @returns losses, norms and every state at the end, moments among them. */
export function trained(
  executable: Executable,
  content: ReadonlyMap<string, HostData>,
  steps: number,
): readonly HostData[] {
  writeContents(executable, content);
  const told: HostData[] = [];
  for (let step = 1; step <= steps; step++) {
    runStep(executable, step);
    told.push(executable.read('loss'), executable.read('norm'));
  }
  return [...told, ...statesOf(executable).map((name) => executable.read(name))];
}
