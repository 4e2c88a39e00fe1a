/** r*, and the verdict on H3, by a rule fixed before the numbers. */
import type { Resampling } from '../compare/bootstrap.ts';
import type { Estimate, Outcome, Verdict } from '../compare/results.ts';
import { estimateText, formatNumber, formatRange } from '../shared/format.ts';
import type { RankGrid } from './inputs.ts';
import { type MeasuredRank, matchGain } from './measure.ts';

export interface RankRule {
  readonly hypothesis: string;
  readonly threshold: number;
  readonly confidence: number;
}

/** Whether token match and embedding cosine are both at least the threshold with their whole intervals. */
export function meetsThreshold(
  { tokenMatch, embeddingCosine }: Pick<MeasuredRank, 'tokenMatch' | 'embeddingCosine'>,
  { threshold }: Pick<RankRule, 'threshold'>,
): boolean {
  const reaches = (estimate: Estimate | null) => estimate?.interval != null && estimate.interval.low >= threshold;
  return reaches(tokenMatch) && reaches(embeddingCosine);
}

/** The smallest rank that meets the threshold together with every larger one: r*; null if the largest does not meet it. */
export function smallestRank(
  ranks: readonly Pick<MeasuredRank, 'rank' | 'tokenMatch' | 'embeddingCosine'>[],
  rule: Pick<RankRule, 'threshold'>,
): number | null {
  const failing = ranks.findLastIndex((one) => !meetsThreshold(one, rule));
  return ranks[failing + 1]?.rank ?? null;
}

/**
 * The outcome by the rule that ruleText writes out.
 * @param gain token match at r*, or at the largest rank where there is no r*, above that at the smallest.
 */
export function judgeRanks(star: number | null, smallest: number, gain: Estimate): Outcome {
  const rises = gain.interval !== null && gain.interval.low > 0;
  if (star !== null && star > smallest) return rises ? 'supported' : 'rejected';
  return star === null && rises ? 'partly' : 'rejected';
}

function ruleText({ threshold, confidence }: RankRule): string {
  const percent = formatNumber(100 * confidence, 0);
  return [
    `A rank meets the threshold if QLoRA's token match with the LoRA run of the same rank and seed, and its embedding cosine, are both at least ${threshold} with their`,
    `whole ${percent} % intervals. r* is the smallest rank that meets it together with every larger one. Supported if r* is larger than the smallest rank and the match`,
    `at the smallest is below that at r* (paired difference); partly if there is no r*, but the match at the largest rank is above that at the smallest; rejected`,
    `otherwise. Intervals: bootstrap over prompts, Student's t over seeds, in quadrature.`,
  ].join(' ');
}

/** What two LoRA seeds have in common at each rank. */
function floorText(ranks: readonly MeasuredRank[]): string {
  const known = ranks.flatMap(({ rank, seedMatch }) => (seedMatch === null ? [] : [{ rank, seedMatch }]));
  if (known.length === 0) return 'not measured: no LoRA run was set beside one of another seed';
  const each = known.map(({ rank, seedMatch }) => `${estimateText(seedMatch, 3)} at rank ${rank}`);
  return `the token match of two LoRA runs of other seeds is ${each.join(', ')}`;
}

/** The verdict with the numbers that carry it. */
export function rankVerdict(ranks: readonly MeasuredRank[], grid: RankGrid, rule: RankRule, how: Resampling): Verdict {
  const star = smallestRank(ranks, rule);
  const [smallest, largest] = [grid.ranks[0]!, grid.ranks.at(-1)!];
  const compared = grid.ranks.find(({ rank }) => rank === star) ?? largest;
  // A rank set against itself gains nothing.
  const gain = matchGain(compared.rank === smallest.rank ? largest : compared, smallest, how);
  const outcome = judgeRanks(star, smallest.rank, gain);
  const low = ranks.find(({ rank }) => rank === smallest.rank)!;
  const rises = gain.interval !== null && gain.interval.low > 0;
  const answer =
    star === null
      ? `No rank up to ${largest.rank} meets the threshold of ${rule.threshold} with its whole interval (token match ${formatRange(
          ranks.map(({ tokenMatch }) => tokenMatch.value),
          3,
        )}, the lowest end ${formatNumber(Math.min(...ranks.map(({ tokenMatch: { value, interval } }) => interval?.low ?? value)), 3)})${rises ? ', but a higher rank brings QLoRA closer to LoRA' : ', and no gain from a higher rank can be told'}.`
      : star === smallest.rank
        ? `Every rank meets the threshold of ${rule.threshold}: none of those tried is too low (token match ${formatNumber(low.tokenMatch.value, 3)} at rank ${smallest.rank}).`
        : `r* is ${star}: it and every larger rank meet the threshold of ${rule.threshold}${rises ? ', and below it QLoRA matches LoRA less' : ', but that rank makes a difference cannot be told from the seeds'}.`;
  return {
    hypothesis: rule.hypothesis,
    measure: 'token match and embedding cosine by rank',
    outcome,
    answer,
    floor: floorText(ranks),
    rule: ruleText(rule),
    evidence: [
      { label: 'r*', value: star === null ? 'none of the ranks tried' : String(star) },
      ...ranks.map((one) => ({
        label: `Rank ${one.rank}: token match, embedding cosine`,
        value: `${estimateText(one.tokenMatch, 3)}, ${estimateText(one.embeddingCosine, 3)}`,
      })),
      {
        label: `Gain in token match, rank ${compared.rank === smallest.rank ? largest.rank : compared.rank} over ${smallest.rank}`,
        value: estimateText(gain, 4),
      },
      ...ranks.flatMap(({ rank, gapRatio }) =>
        gapRatio === null
          ? []
          : [{ label: `Rank ${rank}: method gap / seed gap, 1 − token match`, value: estimateText(gapRatio, 2) }],
      ),
    ],
  };
}
