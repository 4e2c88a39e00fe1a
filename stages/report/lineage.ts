/** The records behind a report, as the page holds them, and which of them a row of a table comes from. */
import type { Ancestry, AncestryRecord } from '../../engine/ancestry.ts';
import type { Digest } from '../../engine/record.ts';
import { type Json, StageError } from '../../engine/stage.ts';
import { readJson } from '../../model/json.ts';
import type { Table } from '../compare/results.ts';

/** A record as the page holds it. Other records are named by their place in the list. */
export interface PageRecord {
  readonly task: string;
  readonly key: Digest;
  /** The stage module, or the command. */
  readonly uses: string;
  readonly params: Readonly<Record<string, Json>>;
  /** Input -> the records that it comes from. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** Input -> path of a file that no task made. */
  readonly sources: Readonly<Record<string, string>>;
  /** Output -> digest of its content. */
  readonly outputs: Readonly<Record<string, Digest>>;
  readonly code: Digest | null;
  readonly startedAt: string;
  readonly seconds: number;
  readonly machine: string;
  readonly measurements: Readonly<Record<string, number | string>>;
}

/** A record that took part in making another, and the axis values under which it did. */
export interface Contribution {
  readonly record: number;
  readonly input: string;
  readonly axes: Readonly<Record<string, Json>>;
}

/** What the report knows of where its inputs come from. */
export interface Lineage {
  readonly records: readonly PageRecord[];
  /** The record behind a member of one of the report's own inputs; null where the store kept none. */
  madeBy(input: string, member: number): number | null;
  /** The members of a record's fan-ins, with the axis values of each. */
  contributions(record: number): readonly Contribution[];
}

/** @throws StageError for a file that the engine did not write. */
export function readLineage(path: string): Lineage {
  const found = readJson(path) as Partial<Ancestry> | null;
  if (found?.format !== 1 || found.records === undefined || found.inputs === undefined)
    throw new StageError(`${path} is not a lineage: the engine fills this input itself`);
  return lineageOf({ format: 1, inputs: found.inputs, records: found.records });
}

/** Tasks in the order of a run: a record comes after those that it reads. */
export function lineageOf({ inputs, records: kept }: Ancestry): Lineage {
  const ordered = inOrder(kept);
  const places = new Map(ordered.map(({ key }, place) => [key, place]));
  const placesOf = (keys: Digest | readonly Digest[]) => [keys].flat().map((key) => places.get(key) ?? null);
  const isThere = (place: number | null) => place !== null;
  const records = ordered.map(
    (record): PageRecord => ({
      task: record.task,
      key: record.key,
      uses:
        'uses' in record.manifest.action ? record.manifest.action.uses : [record.manifest.action.run].flat().join(' '),
      params: record.manifest.params,
      inputs: Object.fromEntries(
        Object.entries(record.producers).map(([name, keys]) => [name, placesOf(keys).filter(isThere)]),
      ),
      sources: record.sources,
      outputs: Object.fromEntries(Object.entries(record.outputs).map(([name, { digest }]) => [name, digest])),
      code: record.manifest.code,
      startedAt: record.startedAt,
      seconds: record.seconds,
      machine: `${record.host.cpu}, ${record.host.cores} cores`,
      measurements: record.measurements,
    }),
  );
  return {
    records,
    madeBy: (input, member) => placesOf(inputs[input] ?? [])[member] ?? null,
    contributions: (place) => contributionsOf(ordered[place]!, placesOf),
  };
}

function inOrder(records: readonly AncestryRecord[]): AncestryRecord[] {
  const byKey = new Map(records.map((record) => [record.key, record]));
  const done = new Set<AncestryRecord>();
  const visit = (record: AncestryRecord): void => {
    if (done.has(record)) return;
    for (const key of Object.values(record.producers).flat()) {
      const producer = byKey.get(key);
      if (producer !== undefined) visit(producer);
    }
    done.add(record);
  };
  // From the tasks' names, not from their keys: those are as random as a digest.
  for (const record of records.toSorted((a, b) => (a.task < b.task ? -1 : 1))) visit(record);
  return [...done];
}

function contributionsOf(
  { manifest, producers }: AncestryRecord,
  placesOf: (keys: Digest | readonly Digest[]) => readonly (number | null)[],
): readonly Contribution[] {
  return Object.entries(manifest.inputs).flatMap(([input, value]) => {
    if (typeof value === 'string') return [];
    const places = placesOf(producers[input] ?? []);
    return value.flatMap(({ axes }, i) => {
      const record = places[i] ?? null;
      return record === null ? [] : [{ record, input, axes }];
    });
  });
}

/**
 * The records that a row of a table rests on: of those that the table's maker took, the ones whose axis values are named in the
 * row. A cell names an axis by the column's name (`rank`, or `layer` for `layers`) or, if it is text, by a value that the axis has.
 * @returns all of them where the row names none.
 */
export function rowSources(
  table: Table,
  row: Table['rows'][number],
  taken: readonly Contribution[],
): readonly number[] {
  let chosen = taken;
  for (const [i, column] of table.columns.entries()) {
    const cell = row[i];
    if (cell === null || cell === undefined) continue;
    const names = axisNames(column.name);
    const matching = chosen.filter(({ axes }) =>
      Object.entries(axes).some(
        ([axis, value]) => (names.includes(axis) || column.kind === 'text') && String(value) === String(cell),
      ),
    );
    // What lacks the axis altogether belongs to every value of it.
    const apart = chosen.filter(({ axes }) => !names.some((name) => Object.hasOwn(axes, name)));
    if (matching.length > 0)
      chosen = names.some((name) => chosen.some(({ axes }) => name in axes)) ? [...matching, ...apart] : matching;
  }
  return [...new Set(chosen.map(({ record }) => record))];
}

function axisNames(column: string): readonly string[] {
  return [column, `${column}s`];
}
