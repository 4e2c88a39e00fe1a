/** Ways to fine-tune a model, each with a plan of its training step and the formula that papers give for it. */
import { type PeakMemory, plannedPeak } from '../../compile/memory.ts';
import type { Gpt2Config } from '../../model/config.ts';
import { type Family, familyRows } from '../../model/gpt2.ts';
import { parameterCounts } from '../../model/shapes.ts';
import { pretrainingStep } from '../../model/steps.ts';
import { anyAdamW, type Precision, plannedTraining, storedIn } from '../shared/planned_training.ts';

/** The adapters and the step that all methods are planned for. */
export interface Setting {
  readonly rank: number;
  readonly targets: readonly Family[];
  readonly batch: number;
  readonly length: number;
}

export interface Method {
  readonly name: string;
  /** The formula in words: p parameters, k adapted matrices of d x d, rank r; bytes. */
  readonly words: string;
  /** The formula's value in bytes. */
  formula(config: Gpt2Config, setting: Setting): number;
  plan(config: Gpt2Config, setting: Setting): PeakMemory;
}

export const methods: readonly Method[] = [
  {
    name: 'full fine-tuning',
    words: '12p',
    formula: (config) => 12 * parameterCounts(config).all,
    plan: (config, { batch, length }) =>
      plannedPeak('full fine-tuning step', pretrainingStep({ config, batch, length, adamw: anyAdamW })),
  },
  adapters('LoRA', 'bf16', 2),
  adapters('QLoRA', 'nf4', 0.52),
];

/** Adapters on a frozen base of so many bytes a parameter: 12 bytes for each of the adapters' 2krd parameters. */
function adapters(name: string, precision: Precision, bytes: number): Method {
  return {
    name,
    words: `${bytes}p + 24krd`,
    formula: (config, setting) => bytes * parameterCounts(config).all + 12 * adapterParameters(config, setting),
    plan: (config, setting) => plannedTraining({ config, matrices: storedIn(precision), ...setting }),
  };
}

/** Parameters of all adapters: rank times the inputs and outputs of each adapted matrix, 2rd where it is d x d. */
export function adapterParameters(config: Gpt2Config, { rank, targets }: Setting): number {
  return familyRows(config, targets).reduce((sum, { inFeatures, width }) => sum + rank * (inFeatures + width), 0);
}
