/** How much one set of runs loses above another. */
import type { Resampling } from '../compare/bootstrap.ts';
import type { Estimate } from '../compare/results.ts';
import { type Crossed, crossedRatio } from './crossed.ts';
import type { Evaluation } from './evaluation.ts';

/** How much the loss is above that of the reference runs, in percent of theirs, paired by prompt and seed. */
export function lossDrop(
  evaluations: readonly Evaluation[],
  references: readonly Evaluation[],
  how: Resampling,
): Estimate {
  const total = (of: (one: Evaluation, reference: Evaluation, i: number) => number): Crossed =>
    evaluations.map((one, s) => one.tokensPerExample.map((tokens, i) => tokens * of(one, references[s]!, i)));
  const ratio = crossedRatio(
    total((one, reference, i) => 100 * (one.lossPerExample[i]! - reference.lossPerExample[i]!)),
    total((_, reference, i) => reference.lossPerExample[i]!),
    how,
  );
  if (ratio === null) throw new RangeError('a reference loses nothing on every example');
  return ratio;
}
