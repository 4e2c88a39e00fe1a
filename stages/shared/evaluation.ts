/** Reads evaluate's metrics of a model beside a reference, example by example. */
import { StageError } from '../../engine/stage.ts';
import { readJson } from '../../model/json.ts';
import { type Metrics, readMetrics } from '../compare/inputs.ts';
import type { MarginBin } from '../evaluate/teacher_forced.ts';
import { readFields, reading } from './fields.ts';

export interface Evaluation extends Metrics {
  readonly tokensPerExample: readonly number[];
  /** Share of tokens at which both models' most likely token is the same. */
  readonly agreementPerExample: readonly number[];
  /** KL(reference || model), nats per token. */
  readonly klPerExample: readonly number[];
  /** Mean-centred cosine of embeddings; null where there is no direction to compare. */
  readonly cosinePerExample: readonly number[] | null;
  readonly agreementByMargin: readonly MarginBin[];
}

/** @throws StageError when the metrics are not those of a model beside a reference. */
export function readEvaluation(path: string, whose: string): Evaluation {
  const metrics = readMetrics(path, whose);
  const fields = readFields(path, `the metrics of ${whose}`);
  if (!fields.has('agreementPerExample') || metrics.tokensPerExample === null) {
    throw new StageError(`${whose} was evaluated without a reference: give evaluate one`);
  }
  const { agreementByMargin } = reading(whose, () => readJson(path)) as { agreementByMargin: readonly MarginBin[] };
  return {
    ...metrics,
    tokensPerExample: metrics.tokensPerExample,
    agreementPerExample: fields.numbers('agreementPerExample'),
    klPerExample: fields.numbers('klPerExample'),
    cosinePerExample: fields.has('cosinePerExample') ? fields.numbers('cosinePerExample') : null,
    agreementByMargin,
  };
}

/** @throws StageError when evaluations that are to be paired by example are of others. */
export function requireSameExamples(evaluations: readonly Evaluation[], what: string): void {
  const first = evaluations[0];
  const other = evaluations.some(
    ({ tokensPerExample }) =>
      tokensPerExample.length !== first!.tokensPerExample.length ||
      tokensPerExample.some((tokens, i) => tokens !== first!.tokensPerExample[i]),
  );
  if (other)
    throw new StageError(`the members of "${what}" were evaluated on different examples, and are paired by example`);
}
