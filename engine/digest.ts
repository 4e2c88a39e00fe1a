/** Content digests of files and folders, remembered by inode, size and times so that an unchanged file is read once. */
import { hash } from 'node:crypto';
import { lstatSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { concurrently } from './concurrently.ts';
import { errorCode } from './errors.ts';
import { digestFile } from './hashing.ts';
import type { Memo } from './memo.ts';
import type { Artifact, Digest } from './record.ts';

/** The sha256 of text (as UTF-8) or bytes. */
export function sha256(content: string | Uint8Array): Digest {
  return hash('sha256', content);
}

/** Whether a value has the form of a sha256, so that it can be a name in the store and nothing else. */
export function isDigest(value: unknown): value is Digest {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
}

/** What `stat` says of a file that changes whenever its content does; null when there is no such file. */
export type FileMark = string | null;

/** The mark of a file or folder as it is now. */
export function markOf(path: string): FileMark {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : `${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
}

/**
 * Whether a file is surely still what it was when `mark` was taken.
 * An edit within the clock tick of the mark leaves the same times, so a mark taken that soon after the last change is
 * not trusted. A tick is some milliseconds, or up to two seconds where the file system keeps whole seconds.
 * @param takenAt `Date.now()` before the mark was taken and the file read.
 */
export function unchanged(path: string, mark: FileMark, takenAt: number): boolean {
  if (markOf(path) !== mark) return false;
  return mark === null || isSettled(mark, takenAt);
}

/** Whether a mark was taken long enough after the file's last change to tell every later change from it. */
export function isSettled(mark: string, takenAt: number): boolean {
  const changedNs = BigInt(mark.slice(mark.lastIndexOf(':') + 1));
  const tickMs = changedNs % 1_000_000_000n === 0n ? 2000 : 100;
  return Number(changedNs / 1_000_000n) + tickMs < takenAt;
}

/** One line of a folder's listing: a file with its digest, or an empty folder (its path ends with `/`, no digest). */
export interface FolderEntry {
  readonly path: string;
  readonly digest: Digest | null;
  readonly bytes: number;
}

/** The canonical listing of a folder: the blob whose sha256 is the folder's digest. Sorts the entries. */
export function listingOf(entries: readonly FolderEntry[]): string {
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : 1));
  return `${JSON.stringify({ folder: 1, entries: sorted.map((entry) => [entry.path, entry.digest, entry.bytes]) })}\n`;
}

/**
 * The entries of a listing, whoever wrote it.
 * @throws Error when the text is not one, when an entry leaves the folder, or when two entries want one place.
 */
export function parseListing(text: string): FolderEntry[] {
  const value = JSON.parse(text) as { folder?: unknown; entries?: unknown } | null;
  if (value?.folder !== 1 || !Array.isArray(value.entries)) throw new Error('not the listing of a folder');
  const places = new Map<string, 'file' | 'folder'>();
  const claim = (place: string, kind: 'file' | 'folder') => {
    const taken = places.get(place);
    if (taken !== undefined && (taken === 'file' || kind === 'file'))
      throw new Error(`the listing names ${place} twice`);
    places.set(place, kind);
  };
  return value.entries.map((entry: unknown) => {
    if (!Array.isArray(entry) || typeof entry[0] !== 'string') throw new Error('not the listing of a folder');
    const [path, digest, bytes] = entry as [string, unknown, unknown];
    const isFolder = path.endsWith('/');
    const names = (isFolder ? path.slice(0, -1) : path).split('/');
    if (names.some((name) => name === '' || name === '.' || name === '..' || name.includes('\0'))) {
      throw new Error(`the listing names ${JSON.stringify(path)}, which leads out of its folder`);
    }
    if (isFolder ? digest !== null : !isDigest(digest)) throw new Error(`the listing gives ${path} no digest`);
    if (!Number.isSafeInteger(bytes) || (bytes as number) < 0) throw new Error(`the listing gives ${path} no size`);
    for (let depth = 1; depth < names.length; depth++) claim(names.slice(0, depth).join('/'), 'folder');
    claim(names.join('/'), isFolder ? 'folder' : 'file');
    return { path, digest: digest as Digest | null, bytes: bytes as number };
  });
}

/** All files below a folder, and its empty folders (with a final `/`), relative, with `/` between names. Follows links. */
export function walk(folder: string, prefix = ''): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(join(folder, prefix), { withFileTypes: true })) {
    const path = prefix + entry.name;
    const isFolder =
      entry.isDirectory() ||
      (entry.isSymbolicLink() && statSync(join(folder, path), { throwIfNoEntry: false })?.isDirectory() === true);
    if (!isFolder) found.push(path);
    else {
      const below = walk(folder, `${path}/`);
      if (below.length === 0) found.push(`${path}/`);
      else for (const name of below) found.push(name);
    }
  }
  return found;
}

interface Known {
  readonly mark: string;
  readonly takenAt: number;
  readonly digest: Digest;
}

/** Digests of files outside the store. */
export interface Digester {
  /**
   * The content of a file or folder as an artifact, without storing it.
   * @throws Error when the path does not exist or is neither file nor folder.
   */
  of(path: string): Promise<Artifact>;
  /** Keeps what was learnt for the next process. */
  save(): void;
}

/** A digester that remembers, in the memo `digests`. */
export function openDigester(memo: Memo): Digester {
  let table: Map<string, Known> | null = null;
  let grew = false;
  /** Path -> a digest that is being found. */
  const pending = new Map<string, Promise<Digest>>();
  const known = () => {
    table ??= new Map(Object.entries((memo.read('digests') as Record<string, Known> | undefined) ?? {}));
    return table;
  };

  async function fileDigest(path: string): Promise<Digest> {
    const hit = known().get(path);
    if (hit !== undefined && unchanged(path, hit.mark, hit.takenAt)) return hit.digest;
    const begun = pending.get(path) ?? findDigest(path);
    pending.set(path, begun);
    try {
      return await begun;
    } finally {
      pending.delete(path);
    }
  }

  async function findDigest(path: string): Promise<Digest> {
    const takenAt = Date.now();
    const mark = markOf(path);
    const digest = await digestFile(path);
    if (mark !== null) {
      known().set(path, { mark, takenAt, digest });
      grew = true;
    }
    return digest;
  }

  return {
    async of(given) {
      const path = resolve(given);
      let stat: ReturnType<typeof statSync>;
      try {
        stat = statSync(path);
      } catch (thrown) {
        if (errorCode(thrown) !== 'ENOENT') throw thrown;
        const dangling = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
        throw new Error(dangling ? `${path} is a link to nothing` : `${path} does not exist`);
      }
      if (stat.isFile()) return { kind: 'file', digest: await fileDigest(path), bytes: stat.size };
      if (!stat.isDirectory()) throw new Error(`${path} is neither a file nor a folder`);
      const entries: FolderEntry[] = [];
      let bytes = 0;
      await concurrently(walk(path), async (name) => {
        if (name.endsWith('/')) {
          entries.push({ path: name, digest: null, bytes: 0 });
          return;
        }
        const file = join(path, name);
        const size = statSync(file).size;
        entries.push({ path: name, digest: await fileDigest(file), bytes: size });
        bytes += size;
      });
      return { kind: 'folder', digest: sha256(listingOf(entries)), bytes };
    },
    save() {
      if (!grew || table === null) return;
      memo.write('digests', Object.fromEntries(table));
      grew = false;
    },
  };
}
