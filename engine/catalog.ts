/** What records the store holds and whether their blobs are all there, read in one go instead of file by file. */
import { randomUUID } from 'node:crypto';
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

/** The whole catalog, but for its entries. */
interface Whole {
  readonly version: 3;
  readonly id: string;
  readonly ac: Readonly<Record<string, Shard>>;
  readonly cas: Readonly<Record<string, Shard>>;
}

interface Saved extends Whole {
  readonly entries: Packed;
}

/** What has changed since the whole catalog was written: a run that made one task of thousands writes no more than that. */
interface Since {
  /** The `id` of that catalog. */
  readonly of: string;
  /** Shards whose mark is another one; null where there is none. */
  readonly ac: Readonly<Record<string, Shard | null>>;
  readonly cas: Readonly<Record<string, Shard | null>>;
  readonly entries: Packed;
  readonly gone: readonly Digest[];
}

/** How many entries may have changed, beside an eighth of all, before the whole catalog is written again. */
const mostSince = 64;

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
  let whole = saved?.version === 3 ? headOf(saved) : null;
  const since = whole === null ? null : sinceOf(memo, whole);
  const entries = new Map<Digest, Entry>();
  const lost = new Map<Digest, Digest>();
  let changed = whole === null;
  if (saved?.version === 3) for (const entry of unpack<Entry>(saved.entries)) entries.set(entry.key, entry);
  /** The keys under which there may be something else than the whole catalog says. */
  const touched = new Set<Digest>(since?.gone);
  for (const key of touched) entries.delete(key);
  if (since !== null) for (const entry of unpack<Entry>(since.entries)) put(entry);

  function put(entry: Entry): void {
    touched.add(entry.key);
    entries.set(entry.key, entry);
  }
  function drop(key: Digest): boolean {
    if (!entries.delete(key)) return false;
    touched.add(key);
    return true;
  }

  /** Marks of all shard folders now, and the names in those whose listing of last time does not hold any more. */
  function inspect(area: 'ac' | 'cas') {
    const marks: Record<string, Shard> = {};
    const listed = new Map<string, Set<string>>();
    const known: Since['ac'] = { ...whole?.[area], ...since?.[area] };
    for (const shard of shards) {
      const folder = join(cache, area, shard);
      const before = known[shard] ?? undefined;
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
      if (records.listed.get(key.slice(0, 2))?.has(key) === false) drop(key);
    }
    for (const names of records.listed.values()) {
      for (const key of names) {
        if (entries.has(key) || !/^[0-9a-f]{64}$/.test(key)) continue;
        const entry = read(key);
        if (entry === null) continue;
        put(entry);
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
      drop(entry.key);
      lost.set(entry.key, missing);
    }
  }

  return {
    find: (key) => entries.get(key) ?? null,
    lost: (key) => lost.get(key) ?? null,
    all: () => entries.values(),
    add(entry) {
      put(entry);
      lost.delete(entry.key);
      changed = true;
    },
    remove(key) {
      if (drop(key)) changed = true;
    },
    save() {
      if (!changed) return;
      // An entry that is incomplete now is left out, and its shard's mark with it, so that it is looked at again.
      const ac = Object.fromEntries(
        Object.entries(records.marks).filter(([shard]) => ![...lost.keys()].some((key) => key.startsWith(shard))),
      );
      const cas = blobs.marks;
      changed = false;
      if (whole === null || touched.size > mostSince + entries.size / 8) {
        whole = { version: 3, id: randomUUID(), ac, cas };
        memo.write('catalog', { ...whole, entries: pack([...entries.values()], own) } satisfies Saved);
        touched.clear();
      }
      const there: Entry[] = [];
      const gone: Digest[] = [];
      for (const key of touched) {
        const entry = entries.get(key);
        if (entry === undefined) gone.push(key);
        else there.push(entry);
      }
      memo.write('catalog-since', {
        of: whole.id,
        ac: otherMarks(whole.ac, ac),
        cas: otherMarks(whole.cas, cas),
        entries: pack(there, own),
        gone,
      } satisfies Since);
    },
  };
}

function headOf({ version, id, ac, cas }: Saved): Whole {
  return { version, id, ac, cas };
}

/** What has changed since; null when nothing is known. */
function sinceOf(memo: Memo, { id }: Whole): Since | null {
  const since = memo.read('catalog-since') as Since | undefined;
  return since?.of === id ? since : null;
}

/** The shards of which `now` says something else than `before`. */
function otherMarks(before: Whole['ac'], now: Whole['ac']): Since['ac'] {
  return Object.fromEntries(
    shards.filter((shard) => before[shard] !== now[shard]).map((shard) => [shard, now[shard] ?? null]),
  );
}
