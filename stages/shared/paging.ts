/** What a training was asked to keep of the optimizer's moments on the host, and within which memory: parameters of two stages. */
import { parseBytes } from '../../engine/quantity.ts';
import { StageError } from '../../engine/stage.ts';

/** The parameters of `train` and `pretrain`. */
export const pagingParams = {
  memory_budget: {
    type: 'string',
    default: '',
    description:
      "What it may take of the device's memory (8GB, 24GiB): the optimizer's moments are paged to the host as far as that needs. Empty: all there is, nothing paged.",
  },
  paged_optimizer: {
    type: 'string',
    enum: ['needed', 'all'],
    default: 'needed',
    description: "all: pages all of the optimizer's moments; slower, less memory of a GPU, the same result.",
  },
} as const;

/** What was asked for. */
export interface Paging {
  /** Bytes that the programs may take on the device; Infinity where nobody set a limit. */
  readonly budget: number;
  /** Which of the optimizer's moments are paged: those that the budget needs, or all. */
  readonly moments: 'needed' | 'all';
}

export const noPaging: Paging = { budget: Number.POSITIVE_INFINITY, moments: 'needed' };

/** @throws StageError where the budget is not a size. */
export function pagingOf(params: {
  readonly memory_budget: string;
  readonly paged_optimizer: Paging['moments'];
}): Paging {
  const { memory_budget: budget, paged_optimizer: moments } = params;
  if (budget === '') return { ...noPaging, moments };
  const bytes = parseBytes(/^\d+$/.test(budget) ? Number(budget) : budget);
  if (bytes === null || bytes === 0)
    throw new StageError(`memory_budget '${budget}' is not a size: write 8GB, 24GiB or a number of bytes`);
  return { budget: bytes, moments };
}

/** @returns whether anything is to be planned beyond what fits. */
export function isAsked({ budget, moments }: Paging): boolean {
  return moments === 'all' || budget !== Number.POSITIVE_INFINITY;
}

/**
 * @param beside bytes of the arena that lies beside the training program's.
 * @returns what `planMemory` is given as the budget of the training program's. On a CPU, whose memory is the host's, paging leaves
 * no more room, so that nothing is paged for that.
 */
export function arenaBudget({ budget, moments }: Paging, device: 'cpu' | 'cuda', beside: number): number {
  if (moments === 'all') return 0;
  return device === 'cpu' ? Number.POSITIVE_INFINITY : Math.max(0, budget - beside);
}
