/** Whether a training fits into the memory that it may take, and which settings would where it does not, found by planning them. */
import { availableMemory } from '../../compile/available_memory.ts';
import type { Target } from '../../compile/optimize.ts';
import type { Rematerialization } from '../../compile/passes/rematerialize.ts';
import { StageError } from '../../engine/stage.ts';
import { type Host, NoRoom } from './executables.ts';
import { gigabytes } from './format.ts';
import { largestWithin } from './largest.ts';
import { arenaBudget, isAsked, type Paging } from './paging.ts';
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
  readonly paging: Paging;
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
  readonly paging: Paging;
  takes(): Footprint;
  /** The settings with which it takes no more bytes than are free. */
  fitting(free: number): readonly Fitting[];
}

/**
 * Loads a training within the budget of memory that it was given; the record then says what was paged for it, or that nothing was.
 * @param load is given the budget of the training program's arena.
 * @throws StageError with the settings that would fit where the budget is too small or the device has no room; other errors as
 * they are.
 */
export async function sayingWhatFits<T>(
  plans: Plans,
  host: Pick<Host, 'measure'>,
  load: (budget: number) => Promise<T>,
): Promise<T> {
  const { paging } = plans;
  const takes = isAsked(paging) ? plans.takes() : undefined;
  if (takes !== undefined && takes.total > paging.budget) {
    const limit = `memory_budget gives ${plans.stage} ${gigabytes(paging.budget)} GB`;
    throw new StageError([limit, ...whatFits(plans, takes, paging.budget)].join('\n'));
  }
  const before = availableMemory(plans.device);
  try {
    const loaded = await load(
      takes === undefined ? Number.POSITIVE_INFINITY : arenaBudget(paging, plans.device, takes.heldOut),
    );
    if (takes !== undefined) host.measure('paging', pagingText(plans, takes));
    return loaded;
  } catch (error) {
    if (!(error instanceof NoRoom)) throw error;
    const free = Math.min((before ?? error).free, paging.budget);
    throw new StageError([error.message, ...whatFits(plans, plans.takes(), free)].join('\n'), { cause: error });
  }
}

/** What a training takes, and the settings with which it takes no more than so many bytes. */
function whatFits(plans: Plans, { training, heldOut, total, paged }: Footprint, free: number): string[] {
  const lines = plans.fitting(free).map(({ setting, bytes }) => `  ${setting} (${gigabytes(bytes)} GB)`);
  return [
    `${plans.stage} takes ${gigabytes(total)} GB: ${gigabytes(training)} to train, ${gigabytes(heldOut)} to measure the held-out loss meanwhile${paged === 0 ? '' : `; ${gigabytes(paged)} GB of the optimizer's moments are paged to the host`}`,
    lines.length === 0
      ? `no setting of ${plans.stage} would fit: take a smaller model`
      : 'by the plan, this would fit:',
    ...lines,
  ];
}

function pagingText({ stage, paging }: Plans, { total, paged, optimizer }: Footprint): string {
  const moments = `${gigabytes(paged)} of ${gigabytes(paged + optimizer)} GB of the optimizer's moments are paged to the host`;
  const takes = `${stage} takes ${gigabytes(total)} GB`;
  const within =
    paging.budget === Number.POSITIVE_INFINITY ? takes : `${takes} of the budget of ${gigabytes(paging.budget)} GB`;
  return `${paged === 0 ? 'no paging was needed' : moments}: ${within}`;
}

/** What `train` can say. */
export function plansOf(asked: Asked): Plans {
  return {
    stage: 'train',
    device: asked.device,
    paging: asked.paging,
    takes: () => plannedFor(asked, {}),
    fitting: (free) => settingsThatFit(asked, free),
  };
}

/** A change of what `pretrain` was asked for. */
type ChangedPretraining = Partial<PlannedPretraining> & PagedOptimizer;

/**
 * What `pretrain` can say: of its settings the batch, the length of sequences, and paging; where none of them is enough alone, the
 * largest batch with paging.
 * @param gpu what its products are multiplied in on a GPU; undefined on the CPU.
 */
export function pretrainingPlans(sizes: PlannedPretraining, gpu: Target['gpu'], paging: Paging): Plans {
  const takes = ({ paged_optimizer: moments = paging.moments, ...changed }: ChangedPretraining) =>
    pretrainingFootprint({ ...sizes, ...changed }, gpu, { ...paging, moments });
  const total = (changed: ChangedPretraining) => takes(changed).total;
  const device = gpu === undefined ? 'cpu' : 'cuda';
  return {
    stage: 'pretrain',
    device,
    paging,
    takes: () => takes({}),
    fitting: (free) => {
      const paged = pagingThatHelps(device, paging);
      const alone = [
        ...[paged].filter((change) => change !== null && total(change) <= free),
        ...largest(total, free, sizes.batch - 1, (batch) => ({ batch })),
        ...largest(total, free, sizes.length - 1, (length) => ({ length })),
      ];
      const together = paged === null ? [] : largest(total, free, sizes.batch - 1, (batch) => ({ ...paged, batch }));
      return (alone.length > 0 ? alone : together).map((changed) => ({
        setting: settingText({ ...changed }),
        bytes: total({ ...changed }),
      }));
    },
  };
}

interface PagedOptimizer {
  readonly paged_optimizer?: Paging['moments'];
}

/** On a CPU the host's memory is the device's; within a budget as much is paged as helps, and all of it may be already. */
function pagingThatHelps(device: 'cpu' | 'cuda', paging: Paging): PagedOptimizer | null {
  return device === 'cuda' && !isAsked(paging) ? { paged_optimizer: 'all' } : null;
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

type Changed = Partial<PlannedTraining> & PagedOptimizer & { readonly rematerialize?: Rematerialization };

/** A change in the words of a pipeline; the base is another stage's. */
function settingText(changed: Changed): string {
  return Object.entries(changed)
    .map(([name, value]) => (name === 'matrices' ? 'a base in precision nf4' : `${name}: ${[value].flat().join('+')}`))
    .join(', ');
}

/**
 * The settings that fit, each alone a change of what was asked for: blocks computed again, paging, the largest batch and rank, the
 * most matrices, a base in 4 bits. Where none does, the first and the last together with the largest batch; then with rank 1 too.
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
    ...ifAny(pagingThatHelps(asked.device, asked.paging) ?? {}),
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
  { training, device, paging, ...asked }: Asked,
  { rematerialize = asked.rematerialize, paged_optimizer: moments = paging.moments, ...changed }: Changed,
) {
  const target: Target = { rematerialize, ...(device === 'cuda' ? { gpu: 'bf16' } : {}) };
  return footprint({ ...training, ...changed }, target, { ...paging, moments });
}
