/** Judges H1 by a rule fixed before the numbers. */
import type { Estimate, Outcome, Verdict } from '../compare/results.ts';
import { decimalsFor, estimateText, formatInterval, formatNumber, formatSigned } from '../shared/format.ts';

/** The rule's parameters. */
export interface ImpactRule {
  readonly hypothesis: string;
  /** What the cosine must exceed. */
  readonly threshold: number;
  /** How many percent of loss QLoRA may lose. */
  readonly tolerance: number;
  readonly confidence: number;
}

/** The numbers that it looks at; null where the data cannot give one. */
export interface Impact {
  /** Mean cosine of B A. */
  readonly cosine: Estimate | null;
  /** Held-out loss above LoRA's, in percent. */
  readonly drop: Estimate;
  /** By how many percent the peak memory of a step is lower. */
  readonly saved: number;
  /** 1 - cosine of the method over that of another seed. */
  readonly ratio: Estimate | null;
}

/** What two LoRA runs of other seeds differ by, in the measures of the rule. */
export interface Floor {
  readonly cosine: Estimate | null;
  readonly drop: Estimate;
}

/** What stands beside the numbers: texts for people. */
export type Evidence = Verdict['evidence'];

/** Whether each part of the rule holds. Without an interval nothing is known, and no part holds. */
function parts({ cosine, drop, ratio }: Impact, { threshold, tolerance }: ImpactRule) {
  return {
    alike: cosine?.interval != null && cosine.interval.low > threshold,
    harmless: drop.interval !== null && drop.interval.high < tolerance,
    withinSeeds: ratio?.interval != null && ratio.interval.low <= 1,
  };
}

/** The outcome by the rule that ruleText writes out. */
export function judgeImpact(impact: Impact, rule: ImpactRule): Outcome {
  const { alike, harmless, withinSeeds } = parts(impact, rule);
  if (alike && harmless) return 'supported';
  return harmless && withinSeeds ? 'partly' : 'rejected';
}

function ruleText({ threshold, tolerance, confidence }: ImpactRule): string {
  const percent = formatNumber(100 * confidence, 0);
  return [
    `Alike: the cosine of B A, mean over layers and seeds, is above ${threshold} with its whole ${percent} % interval. Harmless: QLoRA's held-out loss is above`,
    `LoRA's by less than ${tolerance} % with its whole interval. Supported if both hold; partly if QLoRA is harmless and not alike, but moves B A no further than`,
    `another seed does (the interval of method gap / seed gap is not above 1); rejected otherwise. Intervals: bootstrap over layers or prompts, Student's t over`,
    `seeds, in quadrature.`,
  ].join(' ');
}

/** The verdict with the numbers that carry it. @param beside evidence that the rule does not look at. */
export function impactVerdict(impact: Impact, rule: ImpactRule, floor: Floor, beside: Evidence): Verdict {
  const { cosine, drop, ratio } = impact;
  const outcome = judgeImpact(impact, rule);
  const { alike, harmless } = parts(impact, rule);
  const decimals = Math.max(2, decimalsFor([drop.value]) - 1);
  const dropText = `${formatSigned(drop.value, decimals)} %${drop.interval === null ? '' : ` (${formatInterval(drop.interval, decimals)})`}`;
  const much =
    ratio === null ? 'one that cannot be set beside seeds' : `${estimateText(ratio, 2)} times that of another seed`;
  const sentences = [
    alike
      ? `LoRA and QLoRA learn nearly the same: the cosine of B A is ${estimateText(cosine, 3)}.`
      : `The cosine of B A is ${estimateText(cosine, 3)}, not above ${rule.threshold} with its whole interval; the gap that quantization makes in it is ${much}.`,
    harmless
      ? `QLoRA's held-out loss differs by ${dropText}, less than the ${rule.tolerance} % that the rule allows.`
      : `That QLoRA's held-out loss, ${dropText}, is within ${rule.tolerance} % of LoRA's cannot be said.`,
    `A training step takes ${formatNumber(impact.saved, 1)} % less memory.`,
  ];
  return {
    hypothesis: rule.hypothesis,
    measure: 'cosine of B A, and held-out loss',
    outcome,
    answer: sentences.join(' '),
    floor: `another seed alone: a cosine of B A of ${estimateText(floor.cosine, 3)}, a held-out loss that differs by ${estimateText(floor.drop, 2)} %`,
    rule: ruleText(rule),
    evidence: [
      { label: `Cosine of B A (the rule asks for more than ${rule.threshold})`, value: estimateText(cosine, 4) },
      { label: 'Gap of the method / gap of another seed, 1 − cosine of B A', value: estimateText(ratio, 2) },
      { label: `Held-out loss above LoRA's, % (the rule allows ${rule.tolerance})`, value: estimateText(drop, 2) },
      ...beside,
    ],
  };
}
