/** What quantizing one family of matrices costs, without training: held-out loss against the unquantized model, paired by example. */
import { type Member, StageError } from '../../engine/stage.ts';
import {
  type Bounded,
  fewestExamples,
  pointwiseIntervals,
  type Resampling,
  simultaneousIntervals,
} from './bootstrap.ts';
import { axesText, axisText, indexMembers, type Metrics, readMetrics, readQuantizedWeights } from './inputs.ts';
import type { Baseline, Sensitivity, SensitivityCell } from './results.ts';

/** Which axes name a family and a layer, and the layer value that means every layer. */
export interface FamilyAxes {
  readonly family: string;
  readonly layer: string;
  readonly whole: string;
}

/** The evaluations of models with one family quantized. */
export interface SensitivityInputs {
  readonly members: readonly Member[];
  /** Path of the unquantized model's metrics. */
  readonly unquantized: string;
  /** How many weights each member quantized: one for each member, or none at all. */
  readonly counts: readonly Member[];
}

/** The increases of one family in one layer, per example. */
export interface Increases {
  readonly family: string;
  readonly layer: string;
  /** [examples]: the increase in loss times the example's weight. */
  readonly weighted: Float64Array;
  readonly weights: number | null;
}

/** All increases over the same examples. */
export interface IncreaseTable {
  readonly increases: readonly Increases[];
  /** [examples]: response tokens of each example, or 1 where they are not known. */
  readonly exampleWeight: Float64Array;
  /** [examples]: the unquantized model's loss times the weight. */
  readonly referenceLoss: Float64Array;
  readonly reference: Metrics;
}

/**
 * Reads the members and subtracts the unquantized model's loss, example by example.
 * @throws StageError when members were evaluated on other examples, or an axis or a count is missing.
 */
export function readIncreases(inputs: SensitivityInputs, axes: FamilyAxes): IncreaseTable {
  const reference = readMetrics(inputs.unquantized, 'the unquantized model');
  const examples = reference.lossPerExample.length;
  if (examples < fewestExamples) {
    throw new StageError(
      `the unquantized model was evaluated on ${examples} examples; intervals over examples need ${fewestExamples} or more. Raise the number of examples in evaluate.`,
    );
  }
  const keyOf = (member: Member): string => {
    const family = member.axes[axes.family];
    if (family === undefined) {
      throw new StageError(`a member of "families" (${axesText(member.axes)}) has no axis "${axes.family}".`);
    }
    return JSON.stringify([axisText(family), axisText(member.axes[axes.layer] ?? axes.whole)]);
  };
  const counts = indexMembers(inputs.counts, keyOf, 'counts');
  const exampleWeight = Float64Array.from(reference.tokensPerExample ?? reference.lossPerExample.map(() => 1));
  requireLength(exampleWeight.length, examples, 'the unquantized model', 'tokensPerExample');
  const increases = [...indexMembers(inputs.members, keyOf, 'families')].map(([key, member]) => {
    const whose = axesText(member.axes);
    const metrics = readMetrics(member.path, whose);
    requireLength(metrics.lossPerExample.length, examples, whose, 'lossPerExample');
    requireSameExamples(metrics, reference, whose);
    const count = counts.get(key);
    if (count === undefined && counts.size > 0) {
      throw new StageError(`"counts" has no member for (${whose}), which "families" has.`);
    }
    return {
      family: axisText(member.axes[axes.family]!),
      layer: axisText(member.axes[axes.layer] ?? axes.whole),
      weighted: exampleWeight.map((w, i) => w * (metrics.lossPerExample[i]! - reference.lossPerExample[i]!)),
      weights: count === undefined ? null : readQuantizedWeights(count.path, whose),
    };
  });
  return { increases, exampleWeight, referenceLoss: weighted(reference.lossPerExample, exampleWeight), reference };
}

/**
 * Loss increases with intervals bootstrapped over examples: those of whole families hold together, those of single
 * layers each alone.
 */
export function measureSensitivity(table: IncreaseTable, axes: FamilyAxes, how: Resampling): Sensitivity {
  const whole = table.increases.filter((one) => one.layer === axes.whole);
  const single = table.increases.filter((one) => one.layer !== axes.whole);
  const cells = [
    ...cellsOf(whole, table, (columns, weight) => simultaneousIntervals(columns, weight, how)),
    ...cellsOf(single, table, (columns, weight) => pointwiseIntervals(columns, weight, how)),
  ];
  return {
    families: [...new Set(table.increases.map((one) => one.family))],
    layers: [...new Set(single.map((one) => one.layer))].sort((a, b) => a.localeCompare(b, 'en', { numeric: true })),
    whole: axes.whole,
    cells,
    reference: baselineOf(table),
  };
}

/** The unquantized model, its loss weighted as the increases are. */
export function baselineOf({ reference, referenceLoss, exampleWeight }: IncreaseTable): Baseline {
  const { examples, tokens, uniformLoss } = reference;
  return { loss: total(referenceLoss) / total(exampleWeight), examples, tokens, uniformLoss };
}

function cellsOf(
  increases: readonly Increases[],
  { exampleWeight, referenceLoss }: IncreaseTable,
  intervals: (columns: readonly Float64Array[], weight: Float64Array) => readonly Bounded[],
): readonly SensitivityCell[] {
  if (increases.length === 0) return [];
  const columns = increases.map((one) => one.weighted);
  const absolute = intervals(columns, exampleWeight);
  const relative = intervals(columns, referenceLoss);
  return increases.map(({ family, layer, weights }, index) => ({
    family,
    layer,
    increase: absolute[index]!,
    percent: scaled(relative[index]!, 100),
    weights,
    perMillion: weights === null ? null : scaled(absolute[index]!, 1e6 / weights),
  }));
}

/** An estimate in another unit. */
function scaled({ value, interval }: Bounded, factor: number): Bounded {
  return { value: value * factor, interval: { low: interval.low * factor, high: interval.high * factor } };
}

function weighted(losses: readonly number[], weight: Float64Array): Float64Array {
  return weight.map((w, i) => w * losses[i]!);
}

function total(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function requireLength(found: number, expected: number, whose: string, field: string): void {
  if (found !== expected) {
    throw new StageError(
      `${whose}: "${field}" has ${found} values and the unquantized model's "lossPerExample" has ${expected}; examples are paired, so evaluate both on the same ones.`,
    );
  }
}

/** Equal counts of tokens do not prove that the examples are the same, but other counts prove that they are not. */
function requireSameExamples({ tokensPerExample }: Metrics, reference: Metrics, whose: string): void {
  if (tokensPerExample === null || reference.tokensPerExample === null) return;
  const other = tokensPerExample.findIndex((tokens, i) => tokens !== reference.tokensPerExample![i]);
  if (other >= 0) {
    throw new StageError(
      `${whose}: example ${other} has ${tokensPerExample[other]} response tokens, and ${reference.tokensPerExample[other]} in the unquantized model's evaluation; examples are paired, so evaluate both on the same ones.`,
    );
  }
}
