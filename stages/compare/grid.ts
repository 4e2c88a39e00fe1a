/** The trained grid: every configuration under each value of the compared axis, paired by replicate. */
import { type Json, type Member, StageError } from '../../engine/stage.ts';
import {
  axesText,
  axisText,
  type CurveRow,
  indexMembers,
  type Metrics,
  readCurve,
  readMetrics,
  readSummary,
  type Summary,
} from './inputs.ts';
import type { Comparison, Configuration, Memory, Metric, NoiseFloor, Pair } from './results.ts';
import { mean, meanWithInterval, standardDeviation } from './student.ts';

/** One trained and evaluated model. */
export interface GridRun {
  /** The configuration, as a person reads it: `q+v`, or `targets=q+v, rank=8` where several axes name one. */
  readonly label: string;
  readonly axes: Readonly<Record<string, Json>>;
  /** Its value of the compared axis. */
  readonly value: string;
  readonly replicate: string;
  readonly metrics: Metrics;
  readonly summary: Summary | null;
  readonly curve: readonly CurveRow[] | null;
}

/** The fan-ins that describe the grid. */
export interface GridInputs {
  readonly metrics: readonly Member[];
  readonly summaries: readonly Member[];
  readonly curves: readonly Member[];
}

/**
 * Reads the grid. Summaries and curves are joined to metrics by the axes of the comparison; they may be missing as a
 * whole, not in part.
 * @throws StageError when an axis is missing, when two members cannot be told apart, or when a file cannot be used.
 */
export function readGrid(inputs: GridInputs, comparison: Comparison): readonly GridRun[] {
  const named = [...comparison.rows, comparison.axis];
  const keyOf = (member: Member): string => {
    const absent = named.find((axis) => member.axes[axis] === undefined);
    if (absent !== undefined) {
      throw new StageError(
        `a member (${axesText(member.axes)}) has no axis "${absent}". Name axes that the compared tasks have in rows and comparison.`,
      );
    }
    return JSON.stringify([...named, comparison.replicate].map((axis) => member.axes[axis] ?? null));
  };
  const metrics = indexMembers(inputs.metrics, keyOf, 'metrics');
  const summaries = indexMembers(inputs.summaries, keyOf, 'summaries');
  const curves = indexMembers(inputs.curves, keyOf, 'curves');
  const joined = (index: ReadonlyMap<string, Member>, key: string, member: Member, name: string): Member | null => {
    if (index.size === 0) return null;
    const found = index.get(key);
    if (found === undefined) {
      throw new StageError(`"${name}" has no member for (${axesText(member.axes)}), which "metrics" has.`);
    }
    return found;
  };
  return [...metrics].map(([key, member]) => {
    const whose = axesText(member.axes);
    const summary = joined(summaries, key, member, 'summaries');
    const curve = joined(curves, key, member, 'curves');
    const axes = Object.fromEntries(comparison.rows.map((axis) => [axis, member.axes[axis]!]));
    return {
      label: labelOf(axes),
      axes,
      value: axisText(member.axes[comparison.axis]!),
      replicate: axisText(member.axes[comparison.replicate] ?? 'single'),
      metrics: readMetrics(member.path, whose),
      summary: summary === null ? null : readSummary(summary.path, whose),
      curve: curve === null ? null : readCurve(curve.path, whose),
    };
  });
}

/**
 * Compares each configuration's variants with its reference, replicate by replicate.
 * The drop is 100 (variant - reference) / reference in percent for a metric where lower is better, its negative otherwise.
 * @throws StageError when a run has no partner, or when the reference is 0.
 */
export function compareConfigurations(runs: readonly GridRun[], comparison: Comparison): readonly Configuration[] {
  const references = runs.filter((run) => run.value === comparison.reference);
  const variants = [...new Set(runs.map((run) => run.value))].filter((value) => value !== comparison.reference);
  if (references.length === 0 || variants.length === 0) {
    const values = [...new Set(runs.map((run) => run.value))].join(', ');
    throw new StageError(
      `nothing to compare along "${comparison.axis}": the reference is "${comparison.reference}" and the runs have ${values}. Give runs of the reference and of another value.`,
    );
  }
  const compared = [...new Set(runs.map((run) => run.label))].flatMap((label) =>
    variants.flatMap((variant) => {
      const reference = references.filter((run) => run.label === label);
      const varied = runs.filter((run) => run.label === label && run.value === variant);
      if (reference.length === 0 && varied.length === 0) return [];
      return [compareOne(label, variant, reference, varied, comparison)];
    }),
  );
  return withStandings(compared, comparison);
}

/** How far the replicate alone moves the metric under the reference: null without two replicates of a configuration. */
export function noiseFloor(runs: readonly GridRun[], comparison: Comparison): NoiseFloor | null {
  const references = runs.filter((run) => run.value === comparison.reference);
  const spreads = [...new Set(references.map((run) => run.label))].flatMap((label) => {
    const values = references.filter((run) => run.label === label).map((run) => metricOf(run, comparison.metric));
    const deviation = standardDeviation(values);
    return deviation === null ? [] : [{ deviation, centre: Math.abs(mean(values)), count: values.length }];
  });
  if (spreads.length === 0) return null;
  const degrees = spreads.reduce((sum, { count }) => sum + count - 1, 0);
  const pooled = (of: (spread: (typeof spreads)[number]) => number) =>
    Math.sqrt(spreads.reduce((sum, spread) => sum + of(spread) ** 2 * (spread.count - 1), 0) / degrees);
  return {
    metric: comparison.metric,
    replicate: comparison.replicate,
    deviation: pooled(({ deviation }) => deviation),
    deviationPercent: pooled(({ deviation, centre }) => (100 * deviation) / centre),
    replicates: Math.max(...spreads.map(({ count }) => count)),
    configurations: spreads.length,
  };
}

/** The value of a metric in a run. @throws StageError when evaluate did not measure it. */
function metricOf(run: GridRun, metric: Metric): number {
  const value = run.metrics[metric.name as keyof Metrics];
  if (typeof value === 'number') return value;
  throw new StageError(
    `evaluate did not measure "${metric.name}" for ${run.label}, ${run.value}, ${run.replicate}. Choose another metric, or have it measured.`,
  );
}

function labelOf(axes: Readonly<Record<string, Json>>): string {
  const entries = Object.entries(axes);
  return entries.length === 1 ? axisText(entries[0]![1]) : axesText(axes);
}

function compareOne(
  label: string,
  variant: string,
  references: readonly GridRun[],
  variants: readonly GridRun[],
  comparison: Comparison,
): Omit<Configuration, 'standing'> {
  const pairs = pairUp(label, variant, references, variants, comparison);
  const drops = pairs.map((pair) => pair.drop);
  const reference = largestMemory(references);
  const varied = largestMemory(variants);
  return {
    label,
    axes: variants[0]!.axes,
    variant,
    pairs,
    drop: meanWithInterval(drops, comparison.confidence),
    deviation: standardDeviation(drops),
    memory: reference === null || varied === null ? null : { reference, variant: varied },
  };
}

function pairUp(
  label: string,
  variant: string,
  references: readonly GridRun[],
  variants: readonly GridRun[],
  { axis, reference, replicate, metric }: Comparison,
): readonly Pair[] {
  const alone = (run: GridRun, missing: string) =>
    new StageError(
      `${label}: ${replicate} ${run.replicate} was evaluated with ${axis} ${run.value} but not with ${missing}; drops are paired by ${replicate}.`,
    );
  const unpaired = references.find((run) => !variants.some((other) => other.replicate === run.replicate));
  if (unpaired !== undefined) throw alone(unpaired, variant);
  return variants.map((run) => {
    const partner = references.find((other) => other.replicate === run.replicate);
    if (partner === undefined) throw alone(run, reference);
    const before = metricOf(partner, metric);
    const after = metricOf(run, metric);
    if (before === 0) {
      throw new StageError(
        `${label}, ${replicate} ${run.replicate}: ${metric.name} is 0 with ${axis} ${reference}, and a drop in percent of 0 does not exist. Choose another metric.`,
      );
    }
    const change = (100 * (after - before)) / Math.abs(before);
    return {
      replicate: run.replicate,
      reference: before,
      variant: after,
      drop: metric.better === 'lower' ? change : -change,
    };
  });
}

/** The largest peak over replicates: planned, so equal in all unless their shapes differ. */
function largestMemory(runs: readonly GridRun[]): Memory | null {
  const peaks = runs.flatMap((run) => (run.summary === null ? [] : [run.summary.memory]));
  return peaks.length === 0 ? null : peaks.reduce((most, memory) => (memory.total > most.total ? memory : most));
}

/**
 * Marks the smallest mean drop, and those that the paired replicates cannot tell from it. Which is the smallest is chosen from
 * the data, so the intervals hold for all pairs of configurations together (Bonferroni).
 */
function withStandings(
  compared: readonly Omit<Configuration, 'standing'>[],
  { confidence }: Comparison,
): readonly Configuration[] {
  const bytes = (one: Omit<Configuration, 'standing'>) => one.memory?.variant.total ?? Number.POSITIVE_INFINITY;
  const best = compared.reduce((leader, one) => {
    const ahead = one.drop.value - leader.drop.value;
    return ahead < 0 || (ahead === 0 && bytes(one) < bytes(leader)) ? one : leader;
  });
  const pairs = (compared.length * (compared.length - 1)) / 2;
  const together = 1 - (1 - confidence) / Math.max(1, pairs);
  return compared.map((one) => {
    if (one === best) return { ...one, standing: 'best' };
    const differences = one.pairs.flatMap((pair) => {
      const partner = best.pairs.find((other) => other.replicate === pair.replicate);
      return partner === undefined ? [] : [pair.drop - partner.drop];
    });
    const interval = differences.length < 2 ? null : meanWithInterval(differences, together).interval;
    return { ...one, standing: interval !== null && interval.low > 0 ? 'behind' : 'tied' };
  });
}
