/** Loads the program that trains adapters, ready for its first step: weights, fresh adapters and positions in place. */
import type { Rematerialization } from '../../compile/passes/rematerialize.ts';
import type { Executable } from '../../compile/program.ts';
import { initialAdapters, type LoraConfig } from '../../model/lora.ts';
import type { AdamW } from '../../model/optimizer.ts';
import { loraTrainingStep } from '../../model/steps.ts';
import { type Host, loadStep, rowPositions } from './executables.ts';
import type { FrozenModel } from './model_folder.ts';

interface Options {
  readonly lora: LoraConfig;
  readonly dropout: { readonly rate: number; readonly seed: number };
  readonly adamw: AdamW;
  readonly batch: number;
  readonly length: number;
  /** Draws A's first values. */
  readonly init: number;
  /** What is kept for the gradient. */
  readonly rematerialize: Rematerialization;
  /** Bytes of the arena beyond which the moments are paged; by default none are. */
  readonly budget?: number;
}

/** Inputs that are left to write before a run: those of `loraTrainingStep` but the positions. */
export async function loadLoraTraining(base: FrozenModel, options: Options, host: Host): Promise<Executable> {
  const { config, matrices } = base;
  const { lora, batch, length, init, rematerialize, budget = Number.POSITIVE_INFINITY } = options;
  const step = loraTrainingStep({ config, matrices, ...options });
  const training = await loadStep('LoRA training step', step, host, { rematerialize, budget });
  base.writeTo(training);
  for (const [name, values] of initialAdapters(config, lora, init)) training.write(name, values);
  training.write('positions', rowPositions(batch, length));
  return training;
}
