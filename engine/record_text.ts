/** How a record lies in the store: JSON for people and programs, checked as a whole when it is read. */
import { checkedJson, parseChecked } from './checked.ts';
import { isDigest } from './digest.ts';
import { canonicalJson, manifestKey } from './manifest.ts';
import { pathProblem } from './paths.ts';
import type { Artifact, Digest, TaskRecord } from './record.ts';

/** A record as the text of its file. */
export function recordText(record: TaskRecord): string {
  return checkedJson(JSON.parse(canonicalJson(record)), 1);
}

/** The record in such a file; null when it is not whole, or not one of this key. */
export function parseRecord(content: Buffer, key: Digest): TaskRecord | null {
  try {
    const record = parseChecked(content) as TaskRecord | undefined;
    if (record === undefined || record.key !== key || manifestKey(record.manifest) !== key) return null;
    // Whoever can write to a shared cache can write a digest or a path: none may name a file elsewhere.
    const { code, outputs: paths } = record.manifest;
    const isWhole =
      isDigest(record.log) &&
      (code === null || isDigest(code)) &&
      Object.values(record.outputs).every(isArtifact) &&
      Object.keys(record.outputs).every((name) => Object.hasOwn(paths, name)) &&
      Object.values(paths).every((path) => pathProblem(path) === null);
    return isWhole ? record : null;
  } catch {
    return null;
  }
}

function isArtifact({ kind, digest, bytes }: Artifact): boolean {
  return (kind === 'file' || kind === 'folder') && isDigest(digest) && Number.isSafeInteger(bytes);
}
