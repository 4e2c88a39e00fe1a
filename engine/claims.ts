/** Claims: which running process executes which key, so that a second run waits and shares the result. */
import { linkSync, lstatSync, readFileSync, renameSync, rmSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errorCode } from './errors.ts';
import { type Identity, identityText, isAlive, parseIdentity, self } from './identity.ts';
import type { Digest } from './record.ts';
import { namesIn } from './store.ts';
import { lacksLinks, sweepTemporaries, writeWhole } from './whole.ts';

/** Who holds a claim. */
export interface Holder {
  readonly identity: Identity;
  readonly run: string;
}

/**
 * A claim is a hard link `claims/<key>` to a note of the process, whose text is `pid-start-boot-run`: made in one system
 * call, content and all, so there is never half a claim, and nothing is made or removed on the disk but a name. It saves
 * work and guards nothing: two processes that ran the same task would store the same result. A claim whose process is dead
 * counts for nothing, so nobody ever has to unlock.
 */
export interface Claims {
  /** Takes the claim, or says which living process has it. */
  take(key: Digest, run: string): 'taken' | Holder;
  /** Gives the claim back. */
  release(key: Digest): void;
  /** Resolves when nobody living holds the claim. Rejects when the signal aborts. */
  whenFree(key: Digest, signal: AbortSignal): Promise<void>;
  /** What living processes hold claims on, and the names of their notes. */
  held(): string[];
  /** Removes the claims of dead processes. */
  sweep(): void;
  /** Removes the process's note. Called when a run is over; another may follow. */
  close(): void;
}

const pollMs = 40;

/** A hard link or, where the disk has none, a symbolic one. */
function link(note: string, path: string): void {
  try {
    linkSync(note, path);
  } catch (thrown) {
    if (!lacksLinks(thrown)) throw thrown;
    symlinkSync(note, path);
  }
}

export function openClaims(folder: string): Claims {
  const pathOf = (key: Digest) => join(folder, key);
  /** Run -> the note that its claims are links to. */
  const notes = new Map<string, string>();

  function noteOf(run: string): string {
    let note = notes.get(run);
    if (note === undefined) {
      note = join(folder, `${identityText(self())}-${run}`);
      writeWhole(note, `${identityText(self())}-${run}`);
      notes.set(run, note);
    }
    return note;
  }

  function holderOf(key: Digest): Holder | 'dead' | null {
    let text: string;
    try {
      text = readFileSync(pathOf(key), 'utf8');
    } catch {
      // What is there and cannot be read is no claim of a living process.
      return lstatSync(pathOf(key), { throwIfNoEntry: false }) === undefined ? null : 'dead';
    }
    const identity = parseIdentity(text);
    if (identity === null || !isAlive(identity)) return 'dead';
    return { identity, run: text.split('-').slice(3).join('-') };
  }

  function bury(key: Digest): void {
    // Moved aside first: of several processes that found the claim dead, one alone wins the name that it had.
    const aside = join(folder, `${key}.dead-${process.pid}`);
    try {
      renameSync(pathOf(key), aside);
      unlinkSync(aside);
    } catch (thrown) {
      if (errorCode(thrown) !== 'ENOENT') throw thrown;
    }
  }

  return {
    take(key, run) {
      for (let cleared = 0; ; ) {
        try {
          link(noteOf(run), pathOf(key));
          return 'taken';
        } catch (thrown) {
          // Someone cleared the folder: the note is written again.
          if (errorCode(thrown) === 'ENOENT' && cleared < 3) {
            notes.clear();
            cleared += 1;
          } else if (errorCode(thrown) !== 'EEXIST') throw thrown;
        }
        const holder = holderOf(key);
        if (holder === 'dead') bury(key);
        else if (holder !== null) return holder;
      }
    },
    release(key) {
      try {
        unlinkSync(pathOf(key));
      } catch (thrown) {
        if (errorCode(thrown) !== 'ENOENT') throw thrown;
      }
    },
    async whenFree(key, signal) {
      for (;;) {
        const holder = holderOf(key);
        if (holder === null || holder === 'dead') return;
        await delay(pollMs, undefined, { signal });
      }
    },
    held() {
      return namesIn(folder).filter((name) => {
        const holder = holderOf(name);
        return holder !== null && holder !== 'dead';
      });
    },
    sweep() {
      sweepTemporaries(folder);
      for (const name of namesIn(folder)) {
        const owner = parseIdentity(name);
        if (owner === null) {
          if (holderOf(name) === 'dead') bury(name);
        } else if (!isAlive(owner)) rmSync(join(folder, name), { force: true });
      }
    },
    close() {
      for (const note of notes.values()) rmSync(note, { force: true });
      notes.clear();
    },
  };
}
