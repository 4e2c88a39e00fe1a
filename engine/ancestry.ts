/** The records behind a task's inputs as one document: what a stage with a lineage input is given. */
import { canonicalJson } from './manifest.ts';
import type { Digest, TaskRecord } from './record.ts';

/**
 * The lineage of a task's inputs. It changes when a record behind them does, times and machines included; as a task's result is
 * found by the content of its inputs, that makes the task run again.
 */
export interface Ancestry {
  readonly format: 1;
  /** Input -> the key of the record that it comes from, or those of a fan-in's members in order. */
  readonly inputs: Readonly<Record<string, Digest | readonly Digest[]>>;
  /** Every record that the inputs come from, those of the inputs included, in the order of their keys. */
  readonly records: readonly AncestryRecord[];
}

/** A record without what no reader of a result asks for. */
export type AncestryRecord = Omit<TaskRecord, 'log'>;

/**
 * Collects the records behind inputs. One that the store keeps no more is left out, and so is what stands behind it alone.
 * @returns canonical JSON of an `Ancestry`: equal records give equal text.
 */
export function ancestryText(inputs: Ancestry['inputs'], readRecord: (key: Digest) => TaskRecord | null): string {
  const records = new Map<Digest, AncestryRecord>();
  const open = Object.values(inputs).flat();
  for (let key = open.pop(); key !== undefined; key = open.pop()) {
    if (records.has(key)) continue;
    const record = readRecord(key);
    if (record === null) continue;
    const { log: _, ...kept } = record;
    records.set(key, kept);
    open.push(...Object.values(record.producers).flat());
  }
  const sorted = [...records].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, record]) => record);
  return canonicalJson({ format: 1, inputs, records: sorted } satisfies Ancestry);
}
