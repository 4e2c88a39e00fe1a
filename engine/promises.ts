/** Records that a shared cache is known to have while their blobs are not here: cache/promised/<2>/<key>, as they came. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isDigest } from './digest.ts';
import type { Digest, TaskRecord } from './record.ts';
import { parseRecord } from './record_text.ts';
import { writeWhole } from './whole.ts';

const pathOf = (cache: string, key: Digest) => join(cache, 'promised', key.slice(0, 2), key);

/** Keeps the text of a record. A disk that refuses costs a question later, nothing else. */
export function keepPromise(cache: string, key: Digest, content: Buffer): void {
  try {
    writeWhole(pathOf(cache, key), content);
  } catch {
    // It is asked for again.
  }
}

/** The text of a record, or null when none is kept. */
export function readPromise(cache: string, key: Digest): Buffer | null {
  const path = pathOf(cache, key);
  return existsSync(path) ? readFileSync(path) : null;
}

/** The record under a key, for lineage and explanations; whether it is still believed is not asked. */
export function readPromisedRecord(cache: string, key: Digest): TaskRecord | null {
  const content = readPromise(cache, key);
  return content === null ? null : parseRecord(content, key);
}

/** The keys of all records that are kept. */
export function promisedKeys(cache: string): Digest[] {
  const folder = join(cache, 'promised');
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((path) => basename(path))
    .filter(isDigest);
}

export function forgetPromise(cache: string, key: Digest): void {
  rmSync(pathOf(cache, key), { force: true });
}
