/** Reads the whole cache again: every blob against its name, every record against its key and the blobs that it names. */
import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { shards } from './catalog.ts';
import { parseChecked } from './checked.ts';
import { concurrently } from './concurrently.ts';
import { errorCode, messageOf } from './errors.ts';
import { digestFile } from './hashing.ts';
import { isWholeBundle } from './modules.ts';
import { type Digest, differingOutputs, type TaskRecord } from './record.ts';
import { parseRecord } from './record_text.ts';
import { taskOfKey } from './runs.ts';
import { type Damage, namesIn, removeTree } from './store.ts';
import type { Workspace } from './workspace.ts';

export interface VerifyReport {
  readonly blobs: number;
  readonly records: number;
  /** Bytes that were read. */
  readonly bytes: number;
  readonly damaged: readonly Damage[];
  /** Tasks whose records were lost with the damage: the next run computes them again. */
  readonly recompute: readonly { readonly task: string; readonly key: Digest }[];
  /** Records under whose key different results were recorded: artifacts that ever differed. */
  readonly divergent: readonly { readonly task: string; readonly key: Digest; readonly artifacts: readonly string[] }[];
}

/**
 * Verifies the cache. What is damaged goes to cache/quarantine, and so does each record that stands on it. Runs may go on
 * meanwhile: what they add is read when a record names it.
 * @param progress is told how many shards of blobs have been read.
 */
export async function verify(
  { store, project }: Workspace,
  progress: (done: number, total: number) => void = () => undefined,
): Promise<VerifyReport> {
  const { cache } = project;
  const recompute: { task: string; key: Digest }[] = [];
  // Opened first: from here on it must hear of every record that goes. It may have put some aside already.
  const { catalog } = store;
  const willRecompute = (key: Digest, record: TaskRecord | null) => {
    const task = record?.task ?? catalog.find(key)?.task ?? taskOfKey(cache, key);
    if (task !== null) recompute.push({ task, key });
  };
  for (const { path } of store.damage)
    if (dirname(dirname(path)) === join(cache, 'ac')) willRecompute(basename(path), null);
  let blobs = 0;
  let bytes = 0;
  const verdicts = new Map<Digest, boolean>();
  async function isSound(digest: Digest): Promise<boolean> {
    const known = verdicts.get(digest);
    if (known !== undefined) return known;
    const path = store.blobPath(digest);
    let verdict = false;
    try {
      const found = await digestFile(path);
      verdict = found === digest;
      blobs += 1;
      bytes += statSync(path).size;
      if (!verdict) store.quarantine(path, `its content has the digest ${found}`);
    } catch (thrown) {
      // One that is not there is no damaged file: the record that names it says so.
      if (errorCode(thrown) !== 'ENOENT') store.quarantine(path, `cannot be read: ${messageOf(thrown)}`);
    }
    verdicts.set(digest, verdict);
    return verdict;
  }

  await concurrently(namesInShards(join(cache, 'cas'), progress), async (name) => {
    await isSound(name);
  });

  async function isSoundTree(digest: Digest): Promise<boolean> {
    if (!(await isSound(digest))) return false;
    for (const { digest: file } of store.entriesOf(digest)) if (file !== null && !(await isSound(file))) return false;
    return true;
  }

  let records = 0;
  const divergent: { task: string; key: Digest; artifacts: string[] }[] = [];
  for (const shard of shards) {
    for (const key of namesIn(join(cache, 'ac', shard))) {
      const path = join(cache, 'ac', shard, key);
      const content = contentOf(path);
      if (content === null) continue;
      records += 1;
      const record = typeof content === 'string' ? null : parseRecord(content, key);
      const problem =
        typeof content === 'string'
          ? `cannot be read: ${content}`
          : record === null
            ? 'not a readable record'
            : await problemOf(record, isSound, (folder) => store.entriesOf(folder).map(({ digest }) => digest));
      if (problem === null) {
        if (record?.divergent !== undefined)
          divergent.push({ task: record.task, key, artifacts: everDiffered(record) });
        continue;
      }
      store.quarantine(path, problem);
      willRecompute(key, record);
      catalog.remove(key);
    }
  }
  for (const path of checkedFiles(cache)) {
    const content = contentOf(path);
    if (content === null) continue;
    const isWhole =
      typeof content !== 'string' &&
      (path.endsWith('.mjs') ? isWholeBundle(content.toString('utf8')) : parseChecked(content) !== undefined);
    if (!isWhole) store.quarantine(path, 'not as it was written');
  }
  // A tree holds a damaged blob by another name. Trees of sound blobs stay: a task may be reading there.
  for (const digest of namesIn(join(cache, 'trees'))) {
    if (!(await isSoundTree(digest))) removeTree(join(cache, 'trees', digest));
  }
  return { blobs, records, bytes, damaged: store.damage, recompute, divergent };
}

/** The names in all shards of an area. Tells how many shards have been asked for. */
function* namesInShards(area: string, progress: (done: number, total: number) => void): Generator<string> {
  for (const [index, shard] of shards.entries()) {
    yield* namesIn(join(area, shard));
    progress(index + 1, shards.length);
  }
}

/** The artifacts in which any earlier result under the same key differs from a record. */
function everDiffered({ outputs, divergent = [] }: TaskRecord): string[] {
  return [...new Set(divergent.flatMap((earlier) => differingOutputs(earlier.outputs, outputs)))];
}

/** A file's bytes, why it cannot be read, or null when another process has removed it. */
function contentOf(path: string): Buffer | string | null {
  try {
    return readFileSync(path);
  } catch (thrown) {
    return errorCode(thrown) === 'ENOENT' ? null : messageOf(thrown);
  }
}

/** What else carries its own digest: the files of runs, memos, bundled stages. Nothing is computed again without them. */
function checkedFiles(cache: string): string[] {
  return ['runs', 'memo', 'memo/graphs', 'code'].flatMap((folder) =>
    namesIn(join(cache, folder))
      .filter((name) => /\.(json|mjs)$/.test(name) && !name.startsWith('.'))
      .map((name) => join(cache, folder, name)),
  );
}

async function problemOf(
  record: TaskRecord,
  isSound: (digest: Digest) => Promise<boolean>,
  filesOf: (folder: Digest) => (Digest | null)[],
): Promise<string | null> {
  const needed = [record.log, ...(record.manifest.code === null ? [] : [record.manifest.code])];
  for (const { kind, digest } of Object.values(record.outputs)) {
    needed.push(digest);
    if (kind === 'folder' && (await isSound(digest))) {
      try {
        for (const file of filesOf(digest)) if (file !== null) needed.push(file);
      } catch (thrown) {
        return `the listing ${digest.slice(0, 12)} of a folder is damaged: ${messageOf(thrown)}`;
      }
    }
  }
  for (const digest of needed) {
    if (!(await isSound(digest))) return `its blob ${digest.slice(0, 12)} is missing or damaged`;
  }
  return null;
}
