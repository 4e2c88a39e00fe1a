/** What is measured of bases of different precisions: their size, their error, and what they lose with and without adapters. */
import type { Json, Member } from '../../engine/stage.ts';
import { StageError } from '../../engine/stage.ts';
import { type Bounded, type Resampling, simultaneousIntervals } from '../compare/bootstrap.ts';
import { axesText, axisText, indexMembers } from '../compare/inputs.ts';
import { type IncreaseTable, readIncreases } from '../compare/sensitivity.ts';
import { mean } from '../compare/student.ts';
import { readFields } from '../shared/fields.ts';

/** One base. */
export interface Base {
  readonly name: string;
  /** Of its quantized weights; 16 where none is. */
  readonly meanBits: number;
  /** Of the whole base in its packed format. */
  readonly bytes: number;
  /** |dequantized - weights| / |weights|, the mean over quantized matrices; null where none is. */
  readonly error: number | null;
  /** Held-out loss without adapters, nats per token, and what it is above the reference's; null for the reference. */
  readonly loss: number;
  readonly increase: Bounded | null;
  readonly percent: Bounded | null;
}

/** How much more one base loses than another, paired by example. */
export interface Contrast {
  readonly worse: string;
  readonly better: string;
  readonly difference: Bounded;
}

/** Where the axis that names a base is, and which base the others are set against. */
export interface Axis {
  readonly name: string;
  readonly reference: string;
}

/** Untrained bases and their summaries. */
export interface BaseInputs {
  readonly summaries: readonly Member[];
  readonly untrained: readonly Member[];
}

/**
 * Sets every base beside the reference; intervals hold for all bases together.
 * @throws StageError when the reference is missing, or a base has no summary.
 */
export function measureBases(inputs: BaseInputs, axis: Axis, how: Resampling): readonly Base[] {
  const { table, increases } = readAgainstReference(inputs, axis);
  const columns = increases.map(({ weighted }) => weighted);
  const absolute = simultaneousIntervals(columns, table.exampleWeight, how);
  const relative = simultaneousIntervals(columns, table.referenceLoss, how);
  const referenceLoss = sum(table.referenceLoss) / sum(table.exampleWeight);
  const summaries = indexMembers(inputs.summaries, (member) => nameOf(member.axes, axis), 'summaries');
  return inputs.untrained.map(({ axes }) => {
    const name = nameOf(axes, axis);
    const summary = summaries.get(name);
    if (summary === undefined) throw new StageError(`"summaries" has no member for ${axis.name} ${name}`);
    const at = increases.findIndex(({ family }) => family === name);
    return {
      name,
      ...sizesOf(summary),
      loss: referenceLoss + (absolute[at]?.value ?? 0),
      increase: absolute[at] ?? null,
      percent: relative[at] === undefined ? null : scaled(relative[at], 100),
    };
  });
}

/** Differences of given pairs of bases; intervals hold for all pairs together. @throws StageError for a base that there is not. */
export function contrastBases(
  inputs: BaseInputs,
  pairs: readonly (readonly [string, string])[],
  axis: Axis,
  how: Resampling,
): readonly Contrast[] {
  const { table, increases } = readAgainstReference(inputs, axis);
  const columnOf = (name: string): Float64Array => {
    if (name === axis.reference) return new Float64Array(table.exampleWeight.length);
    const found = increases.find(({ family }) => family === name);
    if (found === undefined) throw new StageError(`contrasts name the ${axis.name} ${name}, which was not evaluated`);
    return found.weighted;
  };
  const columns = pairs.map(([worse, better]) => {
    const [a, b] = [columnOf(worse), columnOf(better)];
    return a.map((value, i) => value - b[i]!);
  });
  const differences = simultaneousIntervals(columns, table.exampleWeight, how);
  return pairs.map(([worse, better], i) => ({ worse, better, difference: differences[i]! }));
}

function readAgainstReference(
  { untrained }: BaseInputs,
  axis: Axis,
): Pick<IncreaseTable, 'increases'> & {
  readonly table: IncreaseTable;
} {
  const isReference = ({ axes }: Member) => nameOf(axes, axis) === axis.reference;
  const reference = untrained.find(isReference);
  if (reference === undefined) {
    throw new StageError(
      `"untrained" has no member with ${axis.name} ${axis.reference}, which the others are set against`,
    );
  }
  const members = untrained.filter((member) => !isReference(member));
  const axes = { family: axis.name, layer: '', whole: '' };
  const table = readIncreases({ members, unquantized: reference.path, counts: [] }, axes);
  return { table, increases: table.increases };
}

function nameOf(axes: Readonly<Record<string, Json>>, axis: Axis): string {
  const value = axes[axis.name];
  if (value === undefined) throw new StageError(`a member (${axesText(axes)}) has no axis "${axis.name}"`);
  return axisText(value);
}

function sizesOf({ path, axes }: Member): Pick<Base, 'meanBits' | 'bytes' | 'error'> {
  const summary = readFields(path, `the quantization summary of ${axesText(axes)}`);
  const errors = Object.values(summary.map('relativeErrors'));
  return {
    meanBits: summary.number('meanBits'),
    bytes: summary.number('packedBytes'),
    error: errors.length === 0 ? null : mean(errors),
  };
}

function scaled({ value, interval }: Bounded, factor: number): Bounded {
  return { value: value * factor, interval: { low: interval.low * factor, high: interval.high * factor } };
}

function sum(values: Float64Array): number {
  return values.reduce((all, value) => all + value, 0);
}
