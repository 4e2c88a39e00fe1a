/** What records the store holds and whether their blobs are all there, read in one go instead of file by file. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isSettled, markOf } from './digest.ts';
import type { Memo } from './memo.ts';
import { type Packed, pack, unpack } from './packing.ts';
import type { Artifact, Digest } from './record.ts';

/** What planning needs of a record. */
export interface Entry {
  readonly key: Digest;
  readonly task: string;
  readonly run: string;
  readonly startedAt: string;
  readonly seconds: number;
  readonly outputs: Readonly<Record<string, Artifact>>;
  /** The other blobs that the record stands on: its log, its code listing, the files of its folders. */
  readonly others: readonly Digest[];
}

/** Every blob that a record needs. */
export function blobsOf(entry: Entry): Digest[] {
  return [...Object.values(entry.outputs).map((artifact) => artifact.digest), ...entry.others];
}

/** The two first characters of a digest name the folder that it lies in. */
export const shards: readonly string[] = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, '0'));

interface Shard {
  readonly mark: string | null;
  readonly takenAt: number;
}

interface Saved {
  readonly version: 2;
  readonly ac: Readonly<Record<string, Shard>>;
  readonly cas: Readonly<Record<string, Shard>>;
  readonly entries: Packed;
}

/** The fields of an entry that hardly another has. */
const own = ['key', 'task', 'startedAt', 'seconds', 'outputs'] as const satisfies readonly (keyof Entry)[];

/** The complete records of a store. */
export interface Catalog {
  /** The record under a key, if it is there and no blob of it is missing. */
  find(key: Digest): Entry | null;
  /** Why a record that is there cannot be used: a blob that is gone. */
  lost(key: Digest): Digest | null;
  all(): Iterable<Entry>;
  add(entry: Entry): void;
  remove(key: Digest): void;
  save(): void;
}

/**
 * Opens the catalog. It is a memo: what it says of a shard folder holds while that folder's times have not moved, since
 * adding or removing a file moves them; a shard that changed is listed again, and only records not yet known are read.
 * @param read reads one record from the store; null when it is damaged.
 */
export function openCatalog(cache: string, memo: Memo, read: (key: Digest) => Entry | null): Catalog {
  const saved = memo.read('catalog') as Saved | undefined;
  const usable = saved?.version === 2 ? saved : null;
  const entries = new Map<Digest, Entry>();
  const lost = new Map<Digest, Digest>();
  let changed = usable === null;
  if (usable !== null) for (const entry of unpack<Entry>(usable.entries)) entries.set(entry.key, entry);

  /** Marks of all shard folders now, and the names in those whose listing of last time does not hold any more. */
  function inspect(area: 'ac' | 'cas') {
    const marks: Record<string, Shard> = {};
    const listed = new Map<string, Set<string>>();
    for (const shard of shards) {
      const folder = join(cache, area, shard);
      const before = usable?.[area][shard];
      const takenAt = Date.now();
      const mark = markOf(folder);
      if (mark === null) {
        if (before !== undefined) listed.set(shard, new Set());
        continue;
      }
      if (before?.mark === mark && isSettled(mark, before.takenAt)) marks[shard] = before;
      else {
        marks[shard] = { mark, takenAt };
        listed.set(shard, new Set(readdirSync(folder)));
      }
    }
    if (listed.size > 0) changed = true;
    return { marks, listed };
  }

  const records = inspect('ac');
  const unchecked = new Set<Digest>();
  if (records.listed.size > 0) {
    for (const key of entries.keys()) {
      if (records.listed.get(key.slice(0, 2))?.has(key) === false) entries.delete(key);
    }
    for (const names of records.listed.values()) {
      for (const key of names) {
        if (entries.has(key) || !/^[0-9a-f]{64}$/.test(key)) continue;
        const entry = read(key);
        if (entry === null) continue;
        entries.set(key, entry);
        unchecked.add(key);
      }
    }
  }

  // After the records: reading one may have put a damaged blob aside.
  const blobs = inspect('cas');
  const present = (digest: Digest): boolean => {
    const names = blobs.listed.get(digest.slice(0, 2));
    if (names !== undefined) return names.has(digest);
    // The shard is as it was when every known entry was found complete; a new entry may name something else in it.
    return statSync(join(cache, 'cas', digest.slice(0, 2), digest), { throwIfNoEntry: false }) !== undefined;
  };
  if (blobs.listed.size > 0 || unchecked.size > 0) {
    for (const entry of entries.values()) {
      const isNew = unchecked.has(entry.key);
      const missing = blobsOf(entry).find(
        (digest) => (isNew || blobs.listed.has(digest.slice(0, 2))) && !present(digest),
      );
      if (missing === undefined) continue;
      entries.delete(entry.key);
      lost.set(entry.key, missing);
    }
  }

  return {
    find: (key) => entries.get(key) ?? null,
    lost: (key) => lost.get(key) ?? null,
    all: () => entries.values(),
    add(entry) {
      entries.set(entry.key, entry);
      lost.delete(entry.key);
      changed = true;
    },
    remove(key) {
      if (entries.delete(key)) changed = true;
    },
    save() {
      if (!changed) return;
      // An entry that is incomplete now is left out, and its shard's mark with it, so that it is looked at again.
      const ac = Object.fromEntries(
        Object.entries(records.marks).filter(([shard]) => ![...lost.keys()].some((key) => key.startsWith(shard))),
      );
      const value: Saved = { version: 2, ac, cas: blobs.marks, entries: pack([...entries.values()], own) };
      memo.write('catalog', value);
      changed = false;
    },
  };
}
