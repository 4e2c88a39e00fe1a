/** What a download keeps between tasks for one address: the bytes so far and what the server said of them. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

/** Which version of the content the bytes are of; an empty tag says that the server did not name one. */
export interface Kept {
  readonly etag: string;
}

/** The folder of one address, held by one task at a time. */
export interface Shelf {
  /** The whole content, once it has been fetched. */
  readonly whole: string;
  /** The first bytes of a fetch that was cut off. */
  readonly partial: string;
  /** What is known of the whole content, or null. */
  keptWhole(): Kept | null;
  /** What is known of the partial content, and how many bytes there are, or null. */
  keptPartial(): (Kept & { readonly bytes: number }) | null;
  /** Notes the version that the partial content is of; to be called before its first byte is written. */
  begin(kept: Kept): void;
  /** The partial content is whole. */
  finish(): void;
  /** Forgets everything. */
  clear(): void;
  /** Lets the next task have it. */
  release(): void;
}

/**
 * The shelf of an address. Where another task that is alive holds it, `scratch` takes its place: the content is then fetched
 * without the help of earlier fetches.
 */
export function openShelf(retained: string, scratch: string, url: string): Shelf {
  const name = createHash('sha256').update(url).digest('hex').slice(0, 32);
  const own = join(retained, name);
  mkdirSync(own, { recursive: true });
  const lock = join(own, 'holder');
  if (hold(lock)) return shelfIn(own, () => rmSync(lock, { force: true }));
  const temporary = join(scratch, name);
  mkdirSync(temporary, { recursive: true });
  return shelfIn(temporary, () => {});
}

/** Takes the lock if nobody has it or whoever has it is dead. */
function hold(lock: string): boolean {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const file = openSync(lock, 'wx');
      writeSync(file, String(process.pid));
      closeSync(file);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (isAlive(Number(readFileSync(lock, 'utf8')))) return false;
      rmSync(lock, { force: true });
    }
  }
  return false;
}

/** A holder that has not yet written its number counts as alive. */
function isAlive(pid: number): boolean {
  if (pid === 0) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function shelfIn(folder: string, release: () => void): Shelf {
  const [whole, partial] = [join(folder, 'whole'), join(folder, 'partial')];
  const note = (content: string) => `${content}.json`;
  const read = (content: string): Kept | null => {
    if (!existsSync(content) || !existsSync(note(content))) return null;
    try {
      const kept = JSON.parse(readFileSync(note(content), 'utf8')) as Partial<Kept> | null;
      return typeof kept?.etag === 'string' ? { etag: kept.etag } : null;
    } catch {
      // A kill in the middle of writing leaves half a note: the content is then of no known version.
      return null;
    }
  };
  return {
    whole,
    partial,
    keptWhole: () => read(whole),
    keptPartial() {
      const kept = read(partial);
      return kept === null ? null : { ...kept, bytes: statSync(partial).size };
    },
    begin(kept) {
      rmSync(partial, { force: true });
      writeFileSync(note(partial), JSON.stringify(kept));
    },
    finish() {
      // In this order a kill leaves content without its note, never with the note of another version.
      rmSync(note(whole), { force: true });
      renameSync(partial, whole);
      renameSync(note(partial), note(whole));
    },
    clear: () => {
      for (const path of [whole, partial, note(whole), note(partial)]) rmSync(path, { force: true });
    },
    release,
  };
}
