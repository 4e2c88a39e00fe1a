/** The parameters of intervals, as every stage that gives some takes them. */
import type { Resampling } from '../compare/bootstrap.ts';

export const resamplingParams = {
  alpha: {
    type: 'number',
    default: 0.05,
    exclusiveMinimum: 0,
    maximum: 0.5,
    description: 'Error rate: every interval is at 1 - alpha.',
  },
  resamples: { type: 'integer', default: 2000, minimum: 100, description: 'Bootstrap resamples.' },
  seed: { type: 'integer', default: 42, description: 'Draws the resamples.' },
} as const;

/** What the parameters ask for. */
export function resamplingOf({
  alpha,
  resamples,
  seed,
}: {
  readonly alpha: number;
  readonly resamples: number;
  readonly seed: number;
}): Resampling {
  return { confidence: 1 - alpha, resamples, seed };
}
