/** Which settings of a training would fit into the memory that there is, found by planning them. */
import { availableMemory } from '../../compile/available_memory.ts';
import type { Target } from '../../compile/optimize.ts';
import type { Rematerialization } from '../../compile/passes/rematerialize.ts';
import { StageError } from '../../engine/stage.ts';
import { NoRoom } from './executables.ts';
import { gigabytes } from './format.ts';
import { largestWithin } from './largest.ts';
import {
  type Footprint,
  footprint,
  type PlannedPretraining,
  type PlannedTraining,
  pretrainingFootprint,
  storages,
  storedIn,
} from './planned_training.ts';

/** A training as it was asked for. */
export interface Asked {
  readonly training: PlannedTraining;
  readonly rematerialize: Rematerialization;
  /** Whether its base is in 4 bits or fewer already. */
  readonly quantized: boolean;
  readonly device: 'cpu' | 'cuda';
}

/** A setting in the words of a pipeline, and what `train` takes with it, in bytes. */
export interface Fitting {
  readonly setting: string;
  readonly bytes: number;
}

/** What a stage can say of a training by planning it. */
interface Plans {
  readonly stage: 'train' | 'pretrain';
  readonly device: 'cpu' | 'cuda';
  takes(): Footprint;
  /** The settings with which it takes no more bytes than are free. */
  fitting(free: number): readonly Fitting[];
}

/** Loads a training. @throws StageError with the settings that would fit where the device has no room for it; other errors as they are. */
export async function sayingWhatFits<T>(plans: Plans, load: () => Promise<T>): Promise<T> {
  const before = availableMemory(plans.device);
  try {
    return await load();
  } catch (error) {
    if (!(error instanceof NoRoom)) throw error;
    const { training, heldOut, total } = plans.takes();
    const lines = plans
      .fitting((before ?? error).free)
      .map(({ setting, bytes }) => `  ${setting} (${gigabytes(bytes)} GB)`);
    throw new StageError(
      [
        error.message,
        `${plans.stage} takes ${gigabytes(total)} GB: ${gigabytes(training)} to train, ${gigabytes(heldOut)} to measure the held-out loss meanwhile`,
        lines.length === 0
          ? `no setting of ${plans.stage} would fit: take a smaller model`
          : 'by the plan, this would fit:',
        ...lines,
      ].join('\n'),
      { cause: error },
    );
  }
}

/** What `train` can say. */
export function plansOf(asked: Asked): Plans {
  return {
    stage: 'train',
    device: asked.device,
    takes: () => plannedFor(asked, {}),
    fitting: (free) => settingsThatFit(asked, free),
  };
}

/**
 * What `pretrain` can say: of its settings the batch and the length of sequences.
 * @param gpu what its products are multiplied in on a GPU; undefined on the CPU.
 */
export function pretrainingPlans(sizes: PlannedPretraining, gpu: Target['gpu']): Plans {
  const takes = (changed: Partial<PlannedPretraining>) => pretrainingFootprint({ ...sizes, ...changed }, gpu);
  const total = (changed: Partial<PlannedPretraining>) => takes(changed).total;
  return {
    stage: 'pretrain',
    device: gpu === undefined ? 'cpu' : 'cuda',
    takes: () => takes({}),
    fitting: (free) =>
      [
        ...largest(total, free, sizes.batch - 1, (batch) => ({ batch })),
        ...largest(total, free, sizes.length - 1, (length) => ({ length })),
      ].map((changed) => ({ setting: settingText(changed), bytes: total(changed) })),
  };
}

/** The change by the largest number up to `limit` with which no more is taken than is free; none if there is none. */
function largest<Change>(
  total: (changed: Change) => number,
  free: number,
  limit: number,
  change: (n: number) => Change,
): Change[] {
  const n = largestWithin((number) => total(change(number)), free, limit);
  return n === 0 ? [] : [change(n)];
}

type Changed = Partial<PlannedTraining> & { readonly rematerialize?: Rematerialization };

/** A change in the words of a pipeline; the base is another stage's. */
function settingText(changed: Changed): string {
  return Object.entries(changed)
    .map(([name, value]) => (name === 'matrices' ? 'a base in precision nf4' : `${name}: ${[value].flat().join('+')}`))
    .join(', ');
}

/**
 * The settings that fit, each alone a change of what was asked for: blocks computed again, the largest batch and rank, the most
 * matrices, a base in 4 bits. Where none does, the first and the last together with the largest batch; then with rank 1 too.
 */
export function settingsThatFit(asked: Asked, free: number): Fitting[] {
  const { batch, rank, targets, config } = asked.training;
  const again: Changed = asked.rematerialize === 'block' ? {} : { rematerialize: 'block' };
  const fourBits: Changed =
    asked.quantized || config.width % storages.nf4.block !== 0 ? {} : { matrices: storedIn('nf4') };
  const total = (changed: Changed) => plannedFor(asked, changed).total;
  const most = (limit: number, change: (n: number) => Changed) => largest(total, free, limit, change);
  const ifAny = (changed: Changed) => (Object.keys(changed).length > 0 && total(changed) <= free ? [changed] : []);

  const alone = [
    ...ifAny(again),
    ...most(batch - 1, (n) => ({ batch: n })),
    ...most(rank - 1, (n) => ({ rank: n })),
    ...most(targets.length - 1, (n) => ({ targets: targets.slice(0, n) })),
    ...ifAny(fourBits),
  ];
  const withBatch = (changed: Changed) => most(batch, (n) => (n < batch ? { ...changed, batch: n } : changed));
  const together = { ...again, ...fourBits };
  const ways = [() => alone, () => withBatch(together), () => withBatch({ ...together, rank: 1 })];
  for (const way of ways) {
    const found = way();
    if (found.length > 0) return found.map((changed) => ({ setting: settingText(changed), bytes: total(changed) }));
  }
  return [];
}

function plannedFor(
  { training, device, ...asked }: Asked,
  { rematerialize = asked.rematerialize, ...changed }: Changed,
) {
  const target: Target = { rematerialize, ...(device === 'cuda' ? { gpu: 'bf16' } : {}) };
  return footprint({ ...training, ...changed }, target);
}
