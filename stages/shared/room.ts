/** Which settings of a training would fit into the memory that there is, found by planning them. */
import { availableMemory } from '../../compile/available_memory.ts';
import type { Target } from '../../compile/optimize.ts';
import type { Rematerialization } from '../../compile/passes/rematerialize.ts';
import { StageError } from '../../engine/stage.ts';
import type { Precision } from '../../native/addon.ts';
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

/** What `pretrain` can say: of its settings the batch and the length of sequences. */
export function pretrainingPlans(
  sizes: PlannedPretraining,
  { device, precision }: { readonly device: 'cpu' | 'cuda'; readonly precision: Precision },
): Plans {
  const takes = (changed: Partial<PlannedPretraining>) =>
    pretrainingFootprint({ ...sizes, ...changed }, device === 'cuda' ? precision : undefined);
  const total = (changed: Partial<PlannedPretraining>) => takes(changed).total;
  return {
    stage: 'pretrain',
    device,
    takes: () => takes({}),
    fitting: (free) => [
      ...most(
        total,
        free,
        sizes.batch - 1,
        (n) => ({ batch: n }),
        (n) => `batch: ${n}`,
      ),
      ...most(
        total,
        free,
        sizes.length - 1,
        (n) => ({ length: n }),
        (n) => `length: ${n}`,
      ),
    ],
  };
}

/** The largest number up to `limit` whose setting fits, as its words. */
function most<Changed>(
  total: (changed: Changed) => number,
  free: number,
  limit: number,
  changed: (n: number) => Changed,
  setting: (n: number) => string,
): Fitting[] {
  const n = largestWithin((n) => total(changed(n)), free, limit);
  return n === 0 ? [] : [{ setting: setting(n), bytes: total(changed(n)) }];
}

/**
 * The settings that fit, each alone a change of what was asked for: blocks computed again, the largest batch and rank, the most
 * matrices, a base in 4 bits. Where none does, the first and the last together with the largest batch; then with rank 1 too.
 */
export function settingsThatFit(asked: Asked, free: number): Fitting[] {
  const { batch, rank, targets } = asked.training;
  const again = asked.rematerialize !== 'block';
  const fourBits = !asked.quantized && asked.training.config.width % storages.nf4.block === 0;
  const takes = (changed: Changed) => plannedFor(asked, changed).total;
  const offers = (setting: string, changed: Changed): Fitting[] => {
    const bytes = takes(changed);
    return bytes <= free ? [{ setting, bytes }] : [];
  };
  const largest = (limit: number, changed: (n: number) => Changed, setting: (n: number) => string) =>
    most(takes, free, limit, changed, setting);
  const first = (n: number) => targets.slice(0, n);
  const inNf4: Changed = { matrices: storedIn('nf4') };

  const alone = [
    ...(again ? offers('rematerialize: block', { rematerialize: 'block' }) : []),
    ...largest(
      batch - 1,
      (n) => ({ batch: n }),
      (n) => `batch: ${n}`,
    ),
    ...largest(
      rank - 1,
      (n) => ({ rank: n }),
      (n) => `rank: ${n}`,
    ),
    ...largest(
      targets.length - 1,
      (n) => ({ targets: first(n) }),
      (n) => `targets: ${first(n).join('+')}`,
    ),
    ...(fourBits ? offers('a base in precision nf4', inNf4) : []),
  ];
  if (alone.length > 0) return alone;
  const words = [...(again ? ['rematerialize: block'] : []), ...(fourBits ? ['a base in precision nf4'] : [])];
  const together: Changed = { rematerialize: 'block', ...(fourBits ? inNf4 : {}) };
  const smallest = (changed: Changed, words: readonly string[]) =>
    largest(
      batch,
      (n) => ({ ...changed, batch: n }),
      (n) => [...words, ...(n < batch ? [`batch: ${n}`] : [])].join(', '),
    );
  const found = smallest(together, words);
  return found.length > 0 ? found : smallest({ ...together, rank: 1 }, [...words, 'rank: 1']);
}

type Changed = Partial<PlannedTraining> & { readonly rematerialize?: Rematerialization };

function plannedFor(
  { training, device, ...asked }: Asked,
  { rematerialize = asked.rematerialize, ...changed }: Changed,
) {
  const target: Target = { rematerialize, ...(device === 'cuda' ? { gpu: 'bf16' } : {}) };
  return footprint({ ...training, ...changed }, target);
}
