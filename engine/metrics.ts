/** Numbers that two runs of a task can be compared by: what was measured, and what its JSON and CSV artifacts hold. */
import { readFileSync } from 'node:fs';
import { errorCode } from './errors.ts';
import type { Artifact, TaskRecord } from './record.ts';
import type { Store } from './store.ts';

/** A number by its name, before and after; undefined where one of them has none. */
export interface MetricChange {
  readonly name: string;
  readonly old: number | undefined;
  readonly new: number | undefined;
}

/** An output whose content differs. */
export interface ArtifactChange {
  readonly name: string;
  readonly old: Artifact | null;
  readonly new: Artifact | null;
  /** Numbers in it that differ; empty where it is no table and no JSON. */
  readonly metrics: readonly MetricChange[];
}

/** What was measured and differs: never part of a result. */
export function measurementChanges(before: TaskRecord, after: TaskRecord): MetricChange[] {
  const numbers = ({ measurements }: TaskRecord) =>
    new Map(Object.entries(measurements).filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
  return changesOf(numbers(before), numbers(after));
}

/** The outputs of a task whose content differs between two executions. */
export function artifactChanges(store: Store, before: TaskRecord, after: TaskRecord): ArtifactChange[] {
  const names = new Set([...Object.keys(before.outputs), ...Object.keys(after.outputs)]);
  return [...names].flatMap((name) => {
    const [old, next] = [outputOf(before, name), outputOf(after, name)];
    if (old?.digest === next?.digest) return [];
    const numbers = (artifact: Artifact | null, { manifest }: TaskRecord) =>
      artifact === null ? new Map<string, number>() : numbersIn(store, artifact, manifest.outputs[name] ?? '');
    return [{ name, old, new: next, metrics: changesOf(numbers(old, before), numbers(next, after)) }];
  });
}

function outputOf({ outputs }: TaskRecord, name: string): Artifact | null {
  return Object.hasOwn(outputs, name) ? outputs[name]! : null;
}

function changesOf(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): MetricChange[] {
  const names = [...new Set([...before.keys(), ...after.keys()])];
  return names
    .map((name) => ({ name, old: before.get(name), new: after.get(name) }))
    .filter((change) => change.old !== change.new);
}

/** Larger files are data, not metrics. */
const metricsBytes = 1 << 20;

/** Numbers in an artifact by their place: `loss.final`, or `table.csv[nf4, 1].loss`. */
function numbersIn(store: Store, artifact: Artifact, path: string): Map<string, number> {
  const found = new Map<string, number>();
  try {
    const files =
      artifact.kind === 'file'
        ? [{ path, digest: artifact.digest, bytes: artifact.bytes, prefix: '' }]
        : store.entriesOf(artifact.digest).map((entry) => ({ ...entry, prefix: `${entry.path} ` }));
    for (const { path: name, digest, bytes, prefix } of files) {
      if (digest === null || bytes > metricsBytes) continue;
      if (name.endsWith('.json')) addJson(found, JSON.parse(readFileSync(store.blobPath(digest), 'utf8')), prefix);
      else if (name.endsWith('.csv')) addCsv(found, readFileSync(store.blobPath(digest), 'utf8'), prefix);
    }
  } catch (error) {
    // What is no JSON after all, or is gone from the store, has no numbers to show.
    if (!(error instanceof SyntaxError) && errorCode(error) !== 'ENOENT') throw error;
  }
  return found;
}

function addJson(found: Map<string, number>, value: unknown, name: string): void {
  if (typeof value === 'number') found.set(name.trim() || 'value', value);
  else if (Array.isArray(value)) for (const [at, item] of value.entries()) addJson(found, item, `${name}[${at}]`);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, below] of Object.entries(value))
      addJson(found, below, name === '' || name.endsWith(' ') ? `${name}${key}` : `${name}.${key}`);
  }
}

/** A row is named by its cells that are text; rows of the same name are counted. */
function addCsv(found: Map<string, number>, text: string, prefix: string): void {
  const [header, ...rows] = text.trimEnd().split(/\r?\n/).map(cellsOf);
  const seen = new Map<string, number>();
  for (const row of rows) {
    const isNumber = row.map((cell) => cell.trim() !== '' && Number.isFinite(Number(cell)));
    const label = row.filter((_, at) => !isNumber[at]).join(', ');
    const count = (seen.get(label) ?? 0) + 1;
    seen.set(label, count);
    const name = count === 1 ? label : `${label} #${count}`;
    for (const [at, cell] of row.entries())
      if (isNumber[at]) found.set(`${prefix}[${name}].${header?.[at] ?? at}`, Number(cell));
  }
}

/** The cells of a line of CSV (RFC 4180), but for line breaks within quotes. */
function cellsOf(line: string): string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, plain]) =>
    quoted === undefined ? plain! : quoted.replaceAll('""', '"'),
  );
}
