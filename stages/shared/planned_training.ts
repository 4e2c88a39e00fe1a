/** The peak memory of training that is not run: adapters on a frozen base, planned from shapes alone. */
import { type PeakMemory, plannedPeak } from '../../compile/memory.ts';
import type { Target } from '../../compile/optimize.ts';
import type { Gpt2Config } from '../../model/config.ts';
import type { LoraConfig } from '../../model/lora.ts';
import type { Matrices, Matrix } from '../../model/matrix.ts';
import { loraTrainingStep, lossStep, pretrainingStep } from '../../model/steps.ts';
import { arenaBudget, noPaging, type Paging } from './paging.ts';
import { adamW } from './training.ts';

/** How a base is stored: LoRA's in 16 bits, QLoRA's matrices in NF4 with double quantization. */
export const storages = {
  bf16: { kind: 'dense', storage: 'bf16' },
  nf4: { kind: 'nf4', block: 64, doubleQuantization: true },
} as const satisfies Readonly<Record<string, Matrix>>;

export type Precision = keyof typeof storages;

/** Every matrix of a base in one precision. */
export function storedIn(precision: Precision): Matrices {
  return () => storages[precision];
}

/** What decides the memory of a step. Alpha, the learning rate and the seed do not. */
export interface PlannedTraining {
  readonly config: Gpt2Config;
  /** How the base is stored. */
  readonly matrices: Matrices;
  readonly targets: LoraConfig['targets'];
  readonly rank: number;
  /** Sequences of a step, and tokens of each. */
  readonly batch: number;
  readonly length: number;
  /** The rate of dropout on the adapters' input; 0 if not given. */
  readonly dropout?: number;
}

/** Any values: the optimizer's numbers take no memory. */
export const anyAdamW = adamW({ weight_decay: 0, max_grad_norm: 1 }, 0.999);

/**
 * The peak of a training step, to the byte what `train` would take for it on that target; by default on a CPU.
 * @param budget of its arena, as `planMemory`; by default nothing is paged.
 */
export function plannedTraining(
  { config, matrices, targets, rank, batch, length, dropout = 0 }: PlannedTraining,
  target: Target = {},
  budget?: number,
): PeakMemory {
  const step = loraTrainingStep({
    config,
    matrices,
    lora: { rank, alpha: rank, targets },
    dropout: { rate: dropout, seed: 0 },
    adamw: anyAdamW,
    batch,
    length,
  });
  return plannedPeak('LoRA training step', step, target, budget);
}

/** The arenas of a training with its held-out measurements, in bytes. */
export interface Footprint {
  readonly training: number;
  readonly heldOut: number;
  /** Of the device: on a CPU, whose memory is the host's, what is paged too. */
  readonly total: number;
  /** The optimizer's moments: in the arena of the training program, and on the host. */
  readonly optimizer: number;
  readonly paged: number;
}

/** What `train` takes on a target: its program's arena, and that of the program that measures the held-out loss meanwhile. */
export function footprint(training: PlannedTraining, target: Target, paging = noPaging): Footprint {
  const { config, matrices, targets, rank, batch, length } = training;
  const step = lossStep({ config, matrices, lora: { rank, alpha: rank, targets }, batch, length });
  const { rematerialize: _, ...forward } = target;
  const heldOut = plannedPeak('loss step', step, forward);
  return together(heldOut, paging, target, (budget) => plannedTraining(training, target, budget));
}

/** A training of a whole model that is not run. */
export interface PlannedPretraining {
  readonly config: Gpt2Config;
  readonly batch: number;
  readonly length: number;
}

/**
 * What `pretrain` takes: as `footprint`.
 * @param gpu what its products are multiplied in on a GPU; undefined on the CPU.
 */
export function pretrainingFootprint(sizes: PlannedPretraining, gpu: Target['gpu'], paging = noPaging): Footprint {
  const target = gpu === undefined ? {} : { gpu };
  const step = lossStep({ ...sizes, matrices: storedIn('bf16') });
  const heldOut = plannedPeak('loss step', step, gpu === undefined ? {} : { gpu: 'bf16' });
  return together(heldOut, paging, target, (budget) =>
    plannedPeak('pretraining step', pretrainingStep({ ...sizes, adamw: anyAdamW }), target, budget),
  );
}

function together(
  heldOut: PeakMemory,
  paging: Paging,
  target: Target,
  plan: (budget: number) => PeakMemory,
): Footprint {
  const device = target.gpu === undefined ? 'cpu' : 'cuda';
  const training = plan(arenaBudget(paging, device, heldOut.total));
  const { optimizer, paged } = training;
  const total = training.total + heldOut.total + (device === 'cpu' ? paged : 0);
  return { training: training.total, heldOut: heldOut.total, total, optimizer, paged };
}
