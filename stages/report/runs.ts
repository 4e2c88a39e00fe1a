/** The grid of trained models: one row a run, with what it was trained as, what came out, and the curve of its losses. */
import type { Json, Member } from '../../engine/stage.ts';
import { type CurveRow, readCurve, readSummary } from '../compare/inputs.ts';
import { readFields } from '../shared/fields.ts';
import type { Lineage } from './lineage.ts';

/** One trained model. */
export interface Run {
  /** Its record; null where the store kept none. */
  readonly record: number | null;
  readonly targets: string;
  readonly rank: number;
  readonly precision: string;
  readonly seed: string;
  /** What else sets it apart: axes besides those above, `order=1`. */
  readonly besides: string;
  /** Nats per token. */
  readonly trainingLoss: number;
  readonly heldOutLoss: number | null;
  /** Planned peak of a step, in bytes. */
  readonly peak: number;
  readonly secondsPerStep: number | null;
  readonly curve: readonly CurveRow[];
}

/**
 * Reads train's summaries, and the curves of those that have one. A run that two grids share is listed once.
 * @throws StageError when a file is not what train writes.
 */
export function readRuns(summaries: readonly Member[], curves: readonly Member[], lineage: Lineage): readonly Run[] {
  const curveOf = new Map(curves.map((member, i) => [nameOf(member, lineage.madeBy('curves', i)), member.path]));
  const runs = new Map<string, Run>();
  for (const [i, member] of summaries.entries()) {
    const record = lineage.madeBy('summaries', i);
    const name = nameOf(member, record);
    if (!runs.has(name)) runs.set(name, readRun(member, record, curveOf.get(name), lineage));
  }
  return [...runs.values()].sort(
    (a, b) =>
      a.targets.localeCompare(b.targets) ||
      a.rank - b.rank ||
      a.precision.localeCompare(b.precision) ||
      a.seed.localeCompare(b.seed, 'en', { numeric: true }),
  );
}

function nameOf({ axes }: Member, record: number | null): string {
  return record === null ? JSON.stringify(axes) : String(record);
}

function readRun({ path, axes }: Member, record: number | null, curve: string | undefined, lineage: Lineage): Run {
  const whose = record === null ? JSON.stringify(axes) : lineage.records[record]!.task;
  const summary = readSummary(path, whose);
  const fields = readFields(path, `the training summary of ${whose}`);
  const kept = record === null ? null : lineage.records[record]!;
  const given = (name: string): Json | undefined => axes[name] ?? kept?.params[name];
  const perStep = kept?.measurements['seconds per step'];
  return {
    record,
    targets: String(axes.targets ?? kept?.params.targets ?? summary.targets),
    rank: summary.rank,
    precision: String(given('precision') ?? (fields.inside('base').flag('quantized') ? 'nf4' : 'bf16')),
    seed: String(given('seed') ?? ''),
    besides: Object.entries(axes)
      .filter(([axis]) => !['targets', 'rank', 'precision', 'seed'].includes(axis))
      .map(([axis, value]) => `${axis}=${String(value)}`)
      .join(', '),
    trainingLoss: summary.finalLoss,
    heldOutLoss: fields.optional('finalValidationLoss'),
    peak: summary.memory.total,
    secondsPerStep: typeof perStep === 'number' ? perStep : null,
    curve: curve === undefined ? [] : readCurve(curve, whose),
  };
}
