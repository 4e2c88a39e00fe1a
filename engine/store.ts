/** The content-addressed store: blobs in cache/cas, records in cache/ac, folders rebuilt from hard links in cache/trees. */
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { blobsOf, type Catalog, type Entry, openCatalog } from './catalog.ts';
import { concurrently } from './concurrently.ts';
import { type FolderEntry, listingOf, parseListing, sha256, walk } from './digest.ts';
import { errorCode, messageOf } from './errors.ts';
import type { EventBody } from './events.ts';
import { digestFile } from './hashing.ts';
import { identityText, isAlive, parseIdentity, self } from './identity.ts';
import type { Memo } from './memo.ts';
import { readPromisedRecord } from './promises.ts';
import { type Artifact, type Digest, differingOutputs, type TaskRecord } from './record.ts';
import { parseRecord, recordText } from './record_text.ts';
import { lacksLinks } from './whole.ts';

/**
 * Every blob bears this modification time (2000-01-01, seconds since 1970). Root may write to a read-only file; whoever
 * does moves the time, and one `stat` tells that the content must be digested again.
 */
const sealedTime = 946_684_800;

const fsyncFile = promisify(fsync);

export interface Store {
  readonly cache: string;
  readonly catalog: Catalog;
  blobPath(digest: Digest): string;
  hasBlob(digest: Digest): boolean;
  readBlob(digest: Digest): Buffer;
  /** Begins to put a result into the store. */
  deposit(): Deposit;
  /** The files of a folder artifact. @throws Error when its listing is missing or damaged. */
  entriesOf(folder: Digest): FolderEntry[];
  /** Whether a blob is there and, as far as its size (if it is known) and times tell, untouched; one that was touched is digested again. */
  isSound(digest: Digest, bytes?: number): Promise<boolean>;
  /** The blobs of an artifact that are missing or damaged; damaged ones go to quarantine. */
  unsound(artifact: Artifact): Promise<Digest[]>;
  /** A read-only path of an artifact: `file`, in a folder that is there, linked to the blob; or the folder under cache/trees. */
  materialise(artifact: Artifact, file: string): Promise<string>;
  /**
   * The record under a key, read from the disk; null when there is none or it is damaged. It may be one that a shared cache
   * is known to have (see promises.ts): then not all its blobs are here.
   */
  readRecord(key: Digest): TaskRecord | null;
  /** The record under a key as the disk has it now, if no blob of it is missing: another process may have written it. */
  recorded(key: Digest): Entry | null;
  /** Forgets the record under a key. */
  removeRecord(key: Digest): void;
  /** Moves a damaged file out of the way, so that it is kept for a look and used no more. `origin` is where it lay, or came from. */
  quarantine(path: string, problem: string, origin?: string): void;
  /** The path of a file that is not there yet, for what is on its way into the store. */
  newFile(): string;
  /** Takes a file, whose digest the caller has just found, by renaming it. */
  takeBlob(path: string, digest: Digest): Promise<void>;
  /** What has been found damaged since the store was opened. */
  readonly damage: readonly Damage[];
  /** Removes what processes that have died left half-made. */
  sweep(): void;
  /** Keeps the catalog for the next process. */
  save(): void;
}

/** A file that is not what it was when it was written. */
export interface Damage {
  readonly path: string;
  readonly problem: string;
}

/** The blobs of one result and its record. Nothing is in the store before `settle` or `commit`. */
export interface Deposit {
  putBytes(content: string | Uint8Array): Digest;
  /** Puts a blob that many results share, whose digest is known: `content` is asked for once, and looked at by its seal then. */
  ensure(digest: Digest, content: () => string): void;
  /** Takes a file by renaming it. */
  adoptFile(path: string): Promise<Artifact>;
  /** Takes the files of a folder, which holds no links, and its listing. */
  adoptFolder(path: string): Promise<Artifact>;
  /** Puts the blobs into the store. */
  settle(): Promise<void>;
  /**
   * Puts the blobs into the store and then the record, so that a record never names a blob that is not there. What was recorded
   * under the key before stays named in the new record if it differs.
   */
  commit(record: TaskRecord): Promise<void>;
}

/** Opens the store in a cache folder; makes nothing until something is put in. */
export function openStore(cache: string, memo: Memo, say: (body: EventBody) => void): Store {
  const recordPath = (key: Digest) => join(cache, 'ac', key.slice(0, 2), key);
  const blobPath = (digest: Digest) => join(cache, 'cas', digest.slice(0, 2), digest);
  let temporaries = 0;

  function temporary(): string {
    const folder = join(cache, 'tmp');
    if (temporaries === 0) mkdirSync(folder, { recursive: true });
    temporaries += 1;
    return join(folder, `${identityText(self())}-${temporaries}`);
  }

  /** Renames into a shard folder, which is made when it is not there. */
  function install(from: string, to: string): void {
    try {
      renameSync(from, to);
    } catch (thrown) {
      if (errorCode(thrown) !== 'ENOENT') throw thrown;
      mkdirSync(dirname(to), { recursive: true });
      renameSync(from, to);
    }
  }

  /** Writes a file of the store under a temporary name: a sealed blob, or a record. */
  function writeTemporary(content: string | Uint8Array, kind: 'blob' | 'record'): string {
    const path = temporary();
    try {
      writeFileSync(path, content, { flag: 'wx' });
      if (kind === 'blob') seal(path);
    } catch (thrown) {
      rmSync(path, { force: true });
      throw thrown;
    }
    return path;
  }

  function isSealed(path: string, bytes?: number): boolean {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat !== undefined && stat.mtimeMs === sealedTime * 1000 && (bytes === undefined || stat.size === bytes);
  }

  const damage: Damage[] = [];
  function quarantine(path: string, problem: string, origin = path): void {
    damage.push({ path: origin, problem });
    say({ type: 'quarantined', path: origin, problem });
    const folder = join(cache, 'quarantine');
    try {
      mkdirSync(folder, { recursive: true });
      renameSync(path, join(folder, `${basename(origin)}-${Date.now().toString(36)}`));
    } catch {
      // A disk that cannot be written to keeps it where it is: it is used as little there, and told of again.
    }
  }

  function readRecord(key: Digest): TaskRecord | null {
    // Most that are asked for are not there, and a thrown error costs more than the look.
    if (!existsSync(recordPath(key))) return readPromisedRecord(cache, key);
    let content: Buffer;
    try {
      content = readFileSync(recordPath(key));
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return null;
      if (errorCode(thrown) !== 'EIO') throw thrown;
      quarantine(recordPath(key), messageOf(thrown));
      return null;
    }
    const record = parseRecord(content, key);
    if (record === null) quarantine(recordPath(key), 'not a readable record');
    return record;
  }

  /** A listing is small and decides what a folder holds: it is digested each time. */
  function entriesOf(folder: Digest): FolderEntry[] {
    const text = readFileSync(blobPath(folder), 'utf8');
    if (sha256(text) !== folder) throw new Error(`the listing ${folder} of a folder is damaged`);
    return parseListing(text);
  }

  /** The files of a folder artifact; null when its listing is missing or damaged, and then put aside. */
  function soundEntriesOf(folder: Digest): FolderEntry[] | null {
    if (!existsSync(blobPath(folder))) return null;
    try {
      return entriesOf(folder);
    } catch (thrown) {
      // What the system refuses for another reason (too many open files) says nothing of the content.
      if (errorCode(thrown) !== undefined && errorCode(thrown) !== 'EIO') throw thrown;
      quarantine(blobPath(folder), messageOf(thrown));
      return null;
    }
  }

  function entryOf(record: TaskRecord): Entry {
    const others = new Set<Digest>([record.log]);
    if (record.manifest.code !== null) others.add(record.manifest.code);
    for (const artifact of Object.values(record.outputs)) {
      if (artifact.kind !== 'folder') continue;
      for (const { digest } of soundEntriesOf(artifact.digest) ?? []) if (digest !== null) others.add(digest);
    }
    const { key, task, run, startedAt, seconds, outputs } = record;
    return { key, task, run, startedAt, seconds, outputs, others: [...others] };
  }

  const ensured = new Set<Digest>();
  let catalog: Catalog | undefined;
  function openedCatalog(): Catalog {
    catalog ??= openCatalog(cache, memo, (key) => {
      const record = readRecord(key);
      return record === null ? null : entryOf(record);
    });
    return catalog;
  }

  /** A record with what was recorded under its key before, where that differs: a result is not replaced without a word. */
  function besideEarlier(record: TaskRecord): TaskRecord {
    const { key, task } = record;
    const before = readRecord(key);
    if (before === null) return record;
    const artifacts = differingOutputs(before.outputs, record.outputs);
    const { outputs, startedAt, run, host } = before;
    const earlier = [{ outputs, startedAt, run, host: host.name }, ...(before.divergent ?? [])];
    const divergent = earlier.filter((result) => differingOutputs(result.outputs, record.outputs).length > 0);
    if (artifacts.length > 0) say({ type: 'diverged', task, key, artifacts, earlier: run });
    return divergent.length === 0 ? record : { ...record, divergent };
  }

  function deposit(): Deposit {
    const moves = new Map<string, string>();

    function putBytes(content: string | Uint8Array): Digest {
      const digest = sha256(content);
      const bytes = typeof content === 'string' ? Buffer.byteLength(content) : content.length;
      const to = blobPath(digest);
      if (!isSealed(to, bytes)) moves.set(writeTemporary(content, 'blob'), to);
      return digest;
    }

    async function adoptFile(path: string): Promise<Artifact> {
      const { size } = statSync(path);
      const digest = await digestFile(path);
      const to = blobPath(digest);
      if (isSealed(to, size)) rmSync(path);
      else {
        seal(path);
        moves.set(path, to);
      }
      return { kind: 'file', digest, bytes: size };
    }

    async function adoptFolder(path: string): Promise<Artifact> {
      const entries: FolderEntry[] = [];
      let bytes = 0;
      await concurrently(walk(path), async (name) => {
        if (name.endsWith('/')) entries.push({ path: name, digest: null, bytes: 0 });
        else {
          const artifact = await adoptFile(join(path, name));
          entries.push({ path: name, digest: artifact.digest, bytes: artifact.bytes });
          bytes += artifact.bytes;
        }
      });
      return { kind: 'folder', digest: putBytes(listingOf(entries)), bytes };
    }

    /** All files reach the disk at the same time, then each gets its name in the store. */
    async function settle(andAlso: readonly string[] = []): Promise<void> {
      await flush([...moves.keys(), ...andAlso]);
      for (const [from, to] of moves) install(from, to);
      moves.clear();
    }

    return {
      putBytes,
      ensure(digest, content) {
        if (ensured.has(digest) && isSealed(blobPath(digest))) return;
        putBytes(content());
        ensured.add(digest);
      },
      adoptFile,
      adoptFolder,
      settle,
      async commit(given) {
        const record = besideEarlier(given);
        const written = writeTemporary(recordText(record), 'record');
        await settle([written]);
        const entry = entryOf(record);
        install(written, recordPath(record.key));
        openedCatalog().add(entry);
      },
    };
  }

  async function isSound(digest: Digest, bytes?: number): Promise<boolean> {
    const path = blobPath(digest);
    if (isSealed(path, bytes)) return true;
    if (!existsSync(path)) return false;
    let problem: string | null = null;
    try {
      if ((await digestFile(path)) !== digest) problem = 'its content is not what its name says';
    } catch (thrown) {
      if (errorCode(thrown) !== 'EIO') throw thrown;
      problem = messageOf(thrown);
    }
    if (problem !== null) {
      quarantine(path, problem);
      return false;
    }
    // A copy of the cache that did not keep times, or somebody's `touch`: sound, sealed again.
    seal(path);
    return true;
  }

  async function materialiseFolder(digest: Digest): Promise<string> {
    const tree = join(cache, 'trees', digest);
    const entries = entriesOf(digest);
    if (existsSync(tree)) {
      const names = new Set(walk(tree));
      const intact =
        names.size === entries.length &&
        entries.every(({ path, bytes, digest: blob }) => {
          if (!names.has(path)) return false;
          return blob === null || isSealed(join(tree, path), bytes);
        });
      if (intact) return tree;
      removeTree(tree);
    }
    const building = temporary();
    mkdirSync(building);
    for (const { path, digest: blob } of entries) {
      const to = join(building, path);
      mkdirSync(blob === null ? to : dirname(to), { recursive: true });
      if (blob !== null) linkOrCopy(blobPath(blob), to);
    }
    // Read-only folders keep all but root from adding to an artifact.
    for (const folder of foldersOf(building)) chmodSync(folder, 0o555);
    chmodSync(building, 0o755);
    mkdirSync(dirname(tree), { recursive: true });
    try {
      renameSync(building, tree);
    } catch (thrown) {
      // Another process made the same tree meanwhile.
      removeTree(building);
      if (!existsSync(tree)) throw thrown;
    }
    chmodSync(tree, 0o555);
    return tree;
  }

  return {
    cache,
    get catalog() {
      return openedCatalog();
    },
    blobPath,
    hasBlob: (digest) => existsSync(blobPath(digest)),
    readBlob: (digest) => readFileSync(blobPath(digest)),
    deposit,
    entriesOf,
    isSound,
    async unsound({ kind, digest: whole, bytes: total }) {
      if (kind === 'file') return (await isSound(whole, total)) ? [] : [whole];
      const entries = soundEntriesOf(whole);
      if (entries === null) return [whole];
      const bad: Digest[] = [];
      for (const { digest, bytes } of entries) {
        if (digest !== null && !(await isSound(digest, bytes))) bad.push(digest);
      }
      return bad;
    },
    async materialise(artifact, file) {
      if (artifact.kind === 'folder') return materialiseFolder(artifact.digest);
      linkOrCopy(blobPath(artifact.digest), file);
      return file;
    },
    readRecord,
    recorded(key) {
      const record = existsSync(recordPath(key)) ? readRecord(key) : null;
      if (record === null) return null;
      const entry = entryOf(record);
      return blobsOf(entry).every((digest) => existsSync(blobPath(digest))) ? entry : null;
    },
    removeRecord(key) {
      rmSync(recordPath(key), { force: true });
      openedCatalog().remove(key);
    },
    quarantine,
    damage,
    newFile: temporary,
    async takeBlob(path, digest) {
      seal(path);
      await flush([path]);
      install(path, blobPath(digest));
    },
    sweep() {
      for (const name of namesIn(join(cache, 'tmp'))) {
        const owner = parseIdentity(name);
        if (owner === null || !isAlive(owner)) removeTree(join(cache, 'tmp', name));
      }
    },
    save: () => catalog?.save(),
  };
}

/** Makes a file read-only and sets the time that says that it has not been touched since. */
function seal(path: string): void {
  chmodSync(path, 0o444);
  utimesSync(path, sealedTime, sealedTime);
}

/** How many files are open at a time while they are written out. */
const flushedAtOnce = 64;

/** Waits until the disk holds the files; the disk takes many at once in hardly more time than one. */
async function flush(paths: readonly string[]): Promise<void> {
  for (let at = 0; at < paths.length; at += flushedAtOnce) {
    await Promise.all(
      paths.slice(at, at + flushedAtOnce).map(async (path) => {
        const file = openSync(path, 'r');
        try {
          await fsyncFile(file);
        } finally {
          closeSync(file);
        }
      }),
    );
  }
}

/** The names in a folder; none when it does not exist. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return [];
    throw thrown;
  }
}

function foldersOf(root: string): string[] {
  return readdirSync(root, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Removes a file or a folder, read-only folders in it too. */
export function removeTree(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  try {
    rmSync(path, { recursive: true, force: true });
  } catch (thrown) {
    if (!stat.isDirectory() || !['EACCES', 'EPERM'].includes(errorCode(thrown) ?? '')) throw thrown;
    chmodSync(path, 0o755);
    for (const folder of foldersOf(path)) chmodSync(folder, 0o755);
    rmSync(path, { recursive: true, force: true });
  }
}

/** Gives a file another name by hard link, or copies it (sharing blocks if the disk can) where links are not to be had. */
function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (thrown) {
    if (!lacksLinks(thrown)) throw thrown;
    copyFileSync(from, to, constants.COPYFILE_FICLONE);
    seal(to);
  }
}
