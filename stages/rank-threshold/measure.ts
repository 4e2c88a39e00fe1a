/** The measures of one rank, each with its interval. */
import type { Resampling } from '../compare/bootstrap.ts';
import type { Estimate } from '../compare/results.ts';
import { mean } from '../compare/student.ts';
import { type Crossed, crossedMean, crossedRatio } from '../shared/crossed.ts';
import type { Evaluation } from '../shared/evaluation.ts';
import { lossDrop } from '../shared/loss_drop.ts';
import type { RankGrid, RankRuns } from './inputs.ts';

export interface MeasuredRank {
  readonly rank: number;
  /** Teacher-forced agreement of QLoRA with LoRA. */
  readonly tokenMatch: Estimate;
  /** Null where embeddings have no direction to compare. */
  readonly embeddingCosine: Estimate | null;
  readonly greedyMatch: number | null;
  /** LoRA with LoRA of another seed; null where it was not measured. */
  readonly seedMatch: Estimate | null;
  /** (1 - token match) of the method over that of another seed. */
  readonly gapRatio: Estimate | null;
  /** Held-out loss, and by how many percent QLoRA's is above. */
  readonly loss: { readonly lora: number; readonly qlora: number };
  readonly drop: Estimate;
  readonly memory: RankRuns['memory'];
  readonly training: { readonly lora: number; readonly qlora: number };
  readonly seeds: number;
}

export function measureRanks({ ranks, seeds }: RankGrid, how: Resampling): readonly MeasuredRank[] {
  return ranks.map((runs): MeasuredRank => {
    const { rank, lora, qlora, noise, memory, training } = runs;
    const tokens = qlora[0]!.tokensPerExample;
    const cosines = qlora.map(({ cosinePerExample }) => cosinePerExample);
    return {
      rank,
      tokenMatch: crossedMean(agreements(qlora), how, tokens),
      embeddingCosine: cosines.every((row) => row !== null) ? crossedMean(cosines, how) : null,
      greedyMatch: qlora.every(({ greedyMatch }) => greedyMatch !== null)
        ? mean(qlora.map(({ greedyMatch }) => greedyMatch!))
        : null,
      seedMatch: noise === null ? null : crossedMean(agreements(noise), how, tokens),
      // The pairs of seeds leave out the first, which all of them share: so does the method here.
      gapRatio: noise === null ? null : crossedRatio(gaps(qlora.slice(1), tokens), gaps(noise, tokens), how),
      loss: { lora: mean(lora.map(({ loss }) => loss)), qlora: mean(qlora.map(({ loss }) => loss)) },
      drop: lossDrop(qlora, lora, how),
      memory,
      training: { lora: mean(training.lora), qlora: mean(training.qlora) },
      seeds: seeds.length,
    };
  });
}

/** How much better QLoRA matches LoRA at one rank than at another, paired by prompt and seed. */
export function matchGain(higher: RankRuns, lower: RankRuns, how: Resampling): Estimate {
  const [above, below] = [agreements(higher.qlora), agreements(lower.qlora)];
  const gain = above.map((row, s) => row.map((share, i) => share - below[s]![i]!));
  return crossedMean(gain, how, higher.qlora[0]!.tokensPerExample);
}

function agreements(evaluations: readonly Evaluation[]): Crossed {
  return evaluations.map(({ agreementPerExample }) => agreementPerExample);
}

function gaps(evaluations: readonly Evaluation[], tokens: readonly number[]): Crossed {
  return agreements(evaluations).map((row) => row.map((share, i) => (1 - share) * tokens[i]!));
}
