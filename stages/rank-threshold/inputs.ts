/** What the rank threshold is judged on: LoRA and QLoRA at every rank, paired by seed, and LoRA beside another seed's. */
import { type Member, StageError } from '../../engine/stage.ts';
import { type CurveRow, readCurve, readSummary, type Summary } from '../compare/inputs.ts';
import { type Evaluation, readEvaluation, requireSameExamples } from '../shared/evaluation.ts';
import { readSeedGrid, readSeedGrids, requireSeeds } from '../shared/seed_grid.ts';

/** One rank; lists are in the order of seeds. */
export interface RankRuns {
  readonly rank: number;
  readonly lora: readonly Evaluation[];
  /** Each beside the LoRA run of its seed. */
  readonly qlora: readonly Evaluation[];
  /** LoRA beside LoRA of the first seed, seeds in their order without the first; null where it was not measured. */
  readonly noise: readonly Evaluation[] | null;
  readonly memory: { readonly lora: number; readonly qlora: number };
  /** Mean loss over all steps of each run. */
  readonly training: { readonly lora: readonly number[]; readonly qlora: readonly number[] };
  readonly steps: number;
}

export interface RankGrid {
  /** Ascending. */
  readonly ranks: readonly RankRuns[];
  readonly seeds: readonly string[];
}

interface Inputs {
  readonly metrics: readonly Member[];
  readonly noise: readonly Member[] | undefined;
  readonly summaries: readonly Member[];
  readonly curves: readonly Member[];
}

/** Reads all of it. @throws StageError when a rank, a precision or a seed is missing somewhere, or examples differ. */
export function readRanks(inputs: Inputs, names: { readonly reference: string; readonly method: string }): RankGrid {
  const axes = { group: 'precision', value: 'rank', seed: 'seed' };
  const metrics = readSeedGrids(inputs.metrics, axes, 'metrics', readEvaluation);
  const summaries = readSeedGrids(inputs.summaries, axes, 'summaries', readSummary);
  const curves = readSeedGrids(inputs.curves, axes, 'curves', readCurve);
  const noise =
    inputs.noise === undefined
      ? null
      : readSeedGrid(inputs.noise, { value: 'rank', seed: 'seed' }, 'noise', readEvaluation);
  const { reference, method } = names;
  const { values, seeds } = metrics(reference);
  for (const [what, grids] of Object.entries({ summaries, curves })) requireSeeds(grids(reference), seeds, `"${what}"`);
  if (noise !== null) requireSeeds(noise, seeds.slice(1), '"noise" (the seeds without the first)');
  const ranks = values
    .map((value): RankRuns => {
      const rank = Number(value);
      if (!Number.isInteger(rank)) throw new StageError(`"metrics" has the rank ${value}, which is not a whole number`);
      return {
        rank,
        lora: metrics(reference).of(value),
        qlora: metrics(method).of(value),
        noise: noise?.values.includes(value) ? noise.of(value) : null,
        memory: { lora: peak(summaries(reference).of(value)), qlora: peak(summaries(method).of(value)) },
        training: { lora: curves(reference).of(value).map(meanLoss), qlora: curves(method).of(value).map(meanLoss) },
        steps: summaries(reference).of(value)[0]!.steps,
      };
    })
    .sort((a, b) => a.rank - b.rank);
  requireSameExamples(
    ranks.flatMap(({ lora, qlora, noise: other }) => [...lora, ...qlora, ...(other ?? [])]),
    'metrics',
  );
  return { ranks, seeds };
}

function peak(summaries: readonly Summary[]): number {
  return Math.max(...summaries.map(({ memory }) => memory.total));
}

function meanLoss(curve: readonly CurveRow[]): number {
  return curve.reduce((sum, { loss }) => sum + loss, 0) / curve.length;
}
