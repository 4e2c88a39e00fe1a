/** Reads the whole store again: every blob against its name, every record against its key and the blobs that it names. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { shards } from './catalog.ts';
import { digestFile } from './digest.ts';
import { messageOf } from './errors.ts';
import { manifestKey } from './manifest.ts';
import type { Digest, TaskRecord } from './record.ts';
import { namesIn, removeTree } from './store.ts';
import type { Workspace } from './workspace.ts';

export interface VerifyReport {
  readonly blobs: number;
  readonly records: number;
  /** Bytes that were read. */
  readonly bytes: number;
  readonly damaged: readonly { readonly path: string; readonly problem: string }[];
  /** Tasks whose records were lost with the damage: the next run computes them again. */
  readonly recompute: readonly { readonly task: string; readonly key: Digest }[];
}

/**
 * Verifies the store. What is damaged goes to cache/quarantine, and so does each record that stands on it.
 * @param progress is told how many shards of blobs have been read.
 */
export async function verify(
  { store, project }: Workspace,
  progress: (done: number, total: number) => void = () => undefined,
): Promise<VerifyReport> {
  const { cache } = project;
  const damaged: { path: string; problem: string }[] = [];
  const condemn = (path: string, problem: string) => {
    damaged.push({ path, problem });
    store.quarantine(path, problem);
  };
  // Opened first: from here on it must hear of every record that goes.
  const { catalog } = store;
  let blobs = 0;
  let bytes = 0;
  const sound = new Set<Digest>();
  for (const [index, shard] of shards.entries()) {
    for (const name of namesIn(join(cache, 'cas', shard))) {
      const path = join(cache, 'cas', shard, name);
      blobs += 1;
      try {
        const digest = await digestFile(path);
        bytes += statSync(path).size;
        if (digest === name) sound.add(name);
        else condemn(path, `its content has the digest ${digest}`);
      } catch (thrown) {
        condemn(path, `cannot be read: ${messageOf(thrown)}`);
      }
    }
    progress(index + 1, shards.length);
  }

  let records = 0;
  const recompute: { task: string; key: Digest }[] = [];
  for (const shard of shards) {
    for (const key of namesIn(join(cache, 'ac', shard))) {
      records += 1;
      const path = join(cache, 'ac', shard, key);
      const known = catalog.find(key);
      const record = store.readRecord(key);
      if (record === null) {
        damaged.push({ path, problem: 'not a readable record' });
        if (known !== null) recompute.push({ task: known.task, key });
        catalog.remove(key);
        continue;
      }
      const problem = problemOf(record, sound, (folder) => store.entriesOf(folder).map(({ digest }) => digest));
      if (problem === null) continue;
      condemn(path, problem);
      catalog.remove(key);
      recompute.push({ task: record.task, key });
    }
  }
  // Folders are rebuilt from blobs when they are next wanted.
  if (damaged.length > 0) {
    for (const name of namesIn(join(cache, 'trees'))) removeTree(join(cache, 'trees', name));
  }
  return { blobs, records, bytes, damaged, recompute };
}

function problemOf(
  record: TaskRecord,
  sound: ReadonlySet<Digest>,
  filesOf: (folder: Digest) => (Digest | null)[],
): string | null {
  if (manifestKey(record.manifest) !== record.key) return 'its manifest does not have the key that it lies under';
  const needed = [record.log, ...(record.manifest.code === null ? [] : [record.manifest.code])];
  for (const { kind, digest } of Object.values(record.outputs)) {
    needed.push(digest);
    if (kind === 'folder' && sound.has(digest)) {
      try {
        for (const file of filesOf(digest)) if (file !== null) needed.push(file);
      } catch (thrown) {
        return `the listing ${digest.slice(0, 12)} of a folder is damaged: ${messageOf(thrown)}`;
      }
    }
  }
  const missing = needed.find((digest) => !sound.has(digest));
  return missing === undefined ? null : `its blob ${missing.slice(0, 12)} is missing or damaged`;
}
