/** How far one run is from another, in several measures, and the gap of a method in units of the gap between seeds. */
import type { Resampling } from '../compare/bootstrap.ts';
import type { Estimate } from '../compare/results.ts';
import { type Crossed, crossedMean, crossedRatio } from '../shared/crossed.ts';
import type { Evaluation } from '../shared/evaluation.ts';
import type { Study } from './inputs.ts';

/** A gap is never negative, and zero for a run beside itself. */
interface Measure {
  readonly name: string;
  readonly label: string;
  /** What it is paired by, besides seeds. */
  readonly unit: 'layer' | 'prompt';
  /** [seeds][units] of a control; null where it was not measured. */
  gapsOf(control: string, study: Study): Crossed | null;
  /** [units]: what units count; all alike where there is none. */
  weights?(study: Study): readonly number[];
}

/** The gap of the method beside the gap of a control, and their ratio. */
export interface Gap {
  readonly measure: Measure;
  readonly against: string;
  readonly method: number;
  readonly control: number;
  /** Null where the control moves nothing. */
  readonly ratio: Estimate | null;
  readonly units: number;
}

const perExample = (
  name: string,
  label: string,
  of: (evaluation: Evaluation, reference: Evaluation) => readonly number[] | null,
  byTokens = true,
): Measure => ({
  name,
  label,
  unit: 'prompt',
  gapsOf(control, { evaluations, names }) {
    const reference = evaluations.of(names.reference);
    const rows = evaluations.of(control).map((one, seed) => of(one, reference[seed]!));
    return rows.every((row) => row !== null) ? rows : null;
  },
  ...(byTokens && { weights: ({ evaluations, names }) => evaluations.of(names.reference)[0]!.tokensPerExample }),
});

const perFamily = (
  name: string,
  label: string,
  of: (family: { cosine: number | null; relative: number | null }) => number | null,
): Measure => ({
  name,
  label,
  unit: 'layer',
  gapsOf(control, { adapters }) {
    const rows = adapters.of(control).map(({ families }) => families.map(of));
    return rows.every((row) => row.every((value) => value !== null)) ? (rows as number[][]) : null;
  },
});

/** Of B A by layer and family; of what the models say by prompt. */
export const measures: readonly Measure[] = [
  perFamily('update_cosine', '1 − cosine of B A', ({ cosine }) => (cosine === null ? null : 1 - cosine)),
  perFamily('update_difference', 'relative difference of B A', ({ relative }) => relative),
  perExample('token_match', '1 − token match', ({ agreementPerExample }) =>
    agreementPerExample.map((share) => 1 - share),
  ),
  perExample('kl', 'KL (nats per token)', ({ klPerExample }) => klPerExample),
  perExample(
    'embedding_cosine',
    '1 − embedding cosine',
    ({ cosinePerExample }) => cosinePerExample?.map((cosine) => 1 - cosine) ?? null,
    false,
  ),
  perExample('loss', 'change of a prompt’s loss (nats per token)', ({ lossPerExample }, reference) =>
    lossPerExample.map((loss, i) => Math.abs(loss - reference.lossPerExample[i]!)),
  ),
];

/** The gaps of the method beside those of each control, measure by measure. */
export function gapsOf(study: Study, controls: readonly string[], how: Resampling): readonly Gap[] {
  return measures.flatMap((measure) =>
    controls.flatMap((against) => {
      const [method, control] = [study.names.method, against].map((one) => measure.gapsOf(one, study));
      if (!method || !control) return [];
      const weights = measure.weights?.(study);
      const weighted = (rows: Crossed): Crossed =>
        weights === undefined ? rows : rows.map((row) => row.map((x, u) => x * weights[u]!));
      return [
        {
          measure,
          against,
          method: crossedMean(method, how, weights).value,
          control: crossedMean(control, how, weights).value,
          ratio: crossedRatio(weighted(method), weighted(control), how),
          units: method[0]!.length,
        },
      ];
    }),
  );
}

/** Mean cosine of B A over families, layers and seeds. */
export function cosineOf(
  comparisons: readonly { readonly families: readonly { readonly cosine: number | null }[] }[],
  how: Resampling,
): Estimate | null {
  const rows = comparisons.map(({ families }) => families.map(({ cosine }) => cosine));
  if (rows.some((row) => row.length === 0 || row.some((cosine) => cosine === null))) return null;
  return crossedMean(rows as number[][], how);
}

/** The mean over prompts (by their tokens) and seeds of what an evaluation says of each prompt. */
export function meanByPrompt(
  evaluations: readonly Evaluation[],
  of: (evaluation: Evaluation, seed: number) => readonly number[],
  how: Resampling,
): Estimate {
  return crossedMean(evaluations.map(of), how, evaluations[0]!.tokensPerExample);
}
