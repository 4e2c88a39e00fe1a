/** Which settings of a training would fit into the memory that there is, found by planning them. */
import { availableMemory } from '../../compile/available_memory.ts';
import type { Target } from '../../compile/optimize.ts';
import type { Rematerialization } from '../../compile/passes/rematerialize.ts';
import { StageError } from '../../engine/stage.ts';
import { NoRoom } from './executables.ts';
import { gigabytes } from './format.ts';
import { largestWithin } from './largest.ts';
import { footprint, type PlannedTraining, storages, storedIn } from './planned_training.ts';

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

/** Loads a training. @throws StageError with the settings that would fit where the device has no room for it; other errors as they are. */
export async function sayingWhatFits<T>(asked: Asked, load: () => Promise<T>): Promise<T> {
  const before = availableMemory(asked.device);
  try {
    return await load();
  } catch (error) {
    if (!(error instanceof NoRoom)) throw error;
    const { training, heldOut, total } = plannedFor(asked, {});
    const fitting = settingsThatFit(asked, (before ?? error).free);
    const lines = fitting.map(({ setting, bytes }) => `  ${setting} (${gigabytes(bytes)} GB)`);
    throw new StageError(
      [
        error.message,
        `train takes ${gigabytes(total)} GB: ${gigabytes(training)} to train, ${gigabytes(heldOut)} to measure the held-out loss meanwhile`,
        lines.length === 0 ? 'no setting of train would fit: take a smaller base' : 'by the plan, this would fit:',
        ...lines,
      ].join('\n'),
      { cause: error },
    );
  }
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
  const most = (most: number, changed: (n: number) => Changed, setting: (n: number) => string): Fitting[] => {
    const n = largestWithin((n) => takes(changed(n)), free, most);
    return n === 0 ? [] : [{ setting: setting(n), bytes: takes(changed(n)) }];
  };
  const first = (n: number) => targets.slice(0, n);
  const inNf4: Changed = { matrices: storedIn('nf4') };

  const alone = [
    ...(again ? offers('rematerialize: block', { rematerialize: 'block' }) : []),
    ...most(
      batch - 1,
      (n) => ({ batch: n }),
      (n) => `batch: ${n}`,
    ),
    ...most(
      rank - 1,
      (n) => ({ rank: n }),
      (n) => `rank: ${n}`,
    ),
    ...most(
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
    most(
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
