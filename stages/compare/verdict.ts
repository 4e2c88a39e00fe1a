/** Judges "matrices are not equally sensitive" by a rule fixed before the numbers. */

import { decimalsFor, formatDeviation, formatInterval, formatNumber, formatSigned, listed } from '../shared/format.ts';
import { type Bounded, type Resampling, simultaneousIntervals } from './bootstrap.ts';
import type { Baseline, NoiseFloor, Outcome, Verdict } from './results.ts';
import type { Increases } from './sensitivity.ts';

/** The rule's parameters: `ratio` is how many times the smallest increase the largest must be. */
export interface Rule extends Resampling {
  readonly hypothesis: string;
  readonly ratio: number;
}

/** What the increases are measured in. */
export interface Measure {
  /** `the increase in held-out loss`. */
  readonly label: string;
  readonly unit: string;
  /** Turns an increase in loss into the measure, family by family. */
  scale(increases: Increases): number;
}

/** The plain increase in held-out loss. */
export const plainIncrease: Measure = { label: 'increase in held-out loss', unit: 'nats per token', scale: () => 1 };

/** The increase for each million weights quantized: a family that holds more weights has more to lose. */
export const increasePerMillion: Measure = {
  label: 'increase in held-out loss per million weights quantized',
  unit: 'nats per token per million weights',
  scale: ({ weights }) => {
    if (weights === null) throw new RangeError('the weights of a family are not known');
    return 1e6 / weights;
  },
};

/** The numbers that a verdict stands on. */
export interface Contrast {
  readonly largest: Bounded & { readonly family: string };
  readonly smallest: Bounded & { readonly family: string };
  /** largest - smallest, paired by example; its interval holds for all pairs of families together. */
  readonly difference: Bounded;
  /** largest / smallest; null when the smallest is not an increase, which counts as more than any ratio. */
  readonly ratio: number | null;
  /** Whether the intervals of the two do not overlap. */
  readonly separate: boolean;
  /** Whether the difference is above zero. */
  readonly resolved: boolean;
  /** Families whose difference from the largest is not above zero: any of them may be the most sensitive. */
  readonly alike: readonly string[];
}

/**
 * Sets the most against the least sensitive family. Which they are is chosen from the data, so the intervals hold for all families,
 * and for all pairs of families, together.
 * @param increases one for each family, two families or more; @param weight [examples].
 */
export function contrastFamilies(
  increases: readonly Increases[],
  weight: Float64Array,
  measure: Measure,
  how: Resampling,
): Contrast {
  const columns = increases.map((one) => {
    const factor = measure.scale(one);
    return one.weighted.map((x) => x * factor);
  });
  const bounds = simultaneousIntervals(columns, weight, how);
  const order = bounds.map((_, index) => index).sort((a, b) => bounds[b]!.value - bounds[a]!.value);
  const top = order[0]!;
  const bottom = order.at(-1)!;
  const pairs = order.flatMap((a, rank) => order.slice(rank + 1).map((b) => [a, b] as const));
  const differences = simultaneousIntervals(
    pairs.map(([a, b]) => columns[a]!.map((x, i) => x - columns[b]![i]!)),
    weight,
    how,
  );
  const fromTop = (other: number) => differences[pairs.findIndex(([a, b]) => a === top && b === other)]!;
  const difference = fromTop(bottom);
  const largest = { family: increases[top]!.family, ...bounds[top]! };
  const smallest = { family: increases[bottom]!.family, ...bounds[bottom]! };
  return {
    largest,
    smallest,
    difference,
    ratio: smallest.value > 0 ? largest.value / smallest.value : null,
    separate: largest.interval.low > smallest.interval.high,
    resolved: difference.interval.low > 0,
    alike: order
      .slice(1)
      .filter((other) => fromTop(other).interval.low <= 0)
      .map((other) => increases[other]!.family),
  };
}

/** The outcome by the rule that ruleText writes out. */
export function judge(contrast: Contrast, ratio: number): Outcome {
  if (!contrast.resolved) return 'rejected';
  const far = contrast.ratio === null ? contrast.largest.value > 0 : contrast.ratio >= ratio;
  return contrast.separate && far ? 'supported' : 'partly';
}

/** The rule in words, with its parameters. */
export function ruleText(measure: Measure, rule: Rule): string {
  const confidence = `${formatNumber(100 * rule.confidence, 0)} %`;
  return [
    `Supported if the ${measure.label} of the most sensitive family is at least ${rule.ratio} times that of the least sensitive (or that one shows`,
    `no increase) and their ${confidence} intervals do not overlap; partly if only their paired difference is above zero; rejected if not even that can be told.`,
    `Every family is quantized in all its layers, without training. Intervals are bootstrapped over held-out examples (${rule.resamples} resamples, paired by`,
    `example) and hold for all families, and for all pairs of families, together.`,
  ].join(' ');
}

/** What stands beside the numbers of a verdict: where the loss began, and how far a seed alone moves it. */
export interface Surroundings {
  readonly baseline: Baseline;
  readonly noise: NoiseFloor | null;
}

/** The verdict on one measure, with the numbers that carry it. */
export function verdictOn(
  contrast: Contrast,
  measure: Measure,
  rule: Rule,
  { baseline, noise }: Surroundings,
): Verdict {
  const { largest, smallest, difference, ratio, alike } = contrast;
  const decimals = 1 + decimalsFor([largest.value, smallest.value, difference.interval.low]);
  const bound = (one: Bounded) =>
    `${formatSigned(one.value, decimals)} ${measure.unit} (${formatInterval(one.interval, decimals)})`;
  const outcome = judge(contrast, rule.ratio);
  const times = ratio === null ? 'not defined: the least is no increase' : formatNumber(ratio, 1);
  return {
    hypothesis: rule.hypothesis,
    measure: measure.label,
    outcome,
    answer: answerText(contrast, outcome, measure, rule, decimals),
    floor: noiseText(noise),
    rule: ruleText(measure, rule),
    evidence: [
      { label: `Most sensitive: ${largest.family}`, value: bound(largest) },
      { label: `Least sensitive: ${smallest.family}`, value: bound(smallest) },
      { label: `Difference, ${largest.family} − ${smallest.family}, paired by example`, value: bound(difference) },
      { label: `Ratio (the rule asks for ${rule.ratio})`, value: times },
      { label: `Cannot be told from ${largest.family}`, value: alike.length === 0 ? 'none' : alike.join(', ') },
      { label: 'Intervals of the two overlap', value: contrast.separate ? 'no' : 'yes' },
      { label: 'Loss with nothing quantized', value: baselineText(baseline) },
    ],
  };
}

function answerText(
  { largest, smallest, difference, ratio, alike }: Contrast,
  outcome: Outcome,
  { unit }: Measure,
  rule: Rule,
  decimals: number,
): string {
  const between = `${formatNumber(difference.value, decimals)} ${unit}, and the interval of that difference (${formatInterval(difference.interval, decimals)})`;
  if (outcome === 'rejected') {
    return `The families cannot be told apart: ${largest.family} and ${smallest.family}, the furthest, differ by ${between} includes zero.`;
  }
  if (largest.value <= 0) {
    return `No family costs anything: ${largest.family}, the furthest from gaining, and ${smallest.family} differ by ${between} is above zero.`;
  }
  const amount = ({ value, interval }: Bounded) =>
    `${formatSigned(value, decimals)}, ${formatInterval(interval, decimals)}`;
  const much =
    ratio === null
      ? `while ${smallest.family} shows no increase (${amount(smallest)})`
      : `${formatNumber(ratio, 1)} times as much as ${smallest.family} (${amount(smallest)})`;
  const sentences = [
    `Quantizing ${largest.family} costs most${alike.length === 0 ? '' : ' by estimate'}: ${formatSigned(largest.value, decimals)} ${unit} (${formatInterval(largest.interval, decimals)}), ${much}.`,
  ];
  if (outcome === 'partly') {
    sentences.push(
      `Their difference is above zero, but ${ratio !== null && ratio < rule.ratio ? `smaller than the ${rule.ratio} times that the rule asks for` : 'the two intervals overlap'}.`,
    );
  }
  if (alike.length > 0) sentences.push(`${largest.family} cannot be told from ${listed(alike)}.`);
  return sentences.join(' ');
}

function baselineText({ loss, uniformLoss }: Baseline): string {
  const found = `${formatNumber(loss, 4)} nats per token`;
  if (uniformLoss === null) return found;
  return `${found}, ${loss < uniformLoss ? 'below' : 'no better than'} the ${formatNumber(uniformLoss, 4)} of a uniform guess`;
}

function noiseText(noise: NoiseFloor | null): string {
  if (noise === null) return 'not measured: no configuration was trained with two replicates';
  const { metric, replicate, deviation, replicates, configurations } = noise;
  const amount = `${formatNumber(deviation, 1 + decimalsFor([deviation]))}${metric.unit === '' ? '' : ` ${metric.unit}`}`;
  return `another ${replicate} alone moves the ${metric.label} of a trained model by ${amount}, ${formatDeviation(noise)} % (standard deviation; ${replicates} ${replicate}s, ${configurations} ${configurations === 1 ? 'configuration' : 'configurations'})`;
}
