/** The seeds of one training run: what it draws from where, and how a control changes one of them alone. */
import { Random } from '../../model/random.ts';

/** The parameters of `train` that decide what is drawn. */
export interface Draws {
  readonly seed: number;
  readonly order: number;
  readonly init: number;
}

export interface Seeds {
  /** A's first values. */
  readonly init: number;
  /** The order of the examples, and the dropout masks. */
  readonly order: number;
}

/** The seeds of a run. Variant 0 of each is the run's own seed; others are drawn from it, so that two seeds share no variant. */
export function seedsOf({ seed, order, init }: Draws): Seeds {
  return { init: variant(seed, 'init', init), order: variant(seed, 'order', order) };
}

/** Variant 0 is the seed itself. An integer in [0, 2^31). */
function variant(seed: number, what: string, number: number): number {
  return number === 0 ? seed : new Random(seed, `${what} ${number}`).uint32() >>> 1;
}
