/** Claims: which running process executes which key, so that a second run waits and shares the result. */
import { mkdirSync, readdirSync, readlinkSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errorCode } from './errors.ts';
import { type Identity, identityText, isAlive, parseIdentity, self } from './identity.ts';
import type { Digest } from './record.ts';

/** Who holds a claim. */
export interface Holder {
  readonly identity: Identity;
  readonly run: string;
}

/**
 * A claim is a symbolic link `claims/<key>` whose target is text, `pid-start-boot-run`: made in one system call, content
 * and all, so there is never half a claim. It saves work and guards nothing: two processes that ran the same task would
 * store the same result. A claim whose process is dead counts for nothing, so nobody ever has to unlock.
 */
export interface Claims {
  /** Takes the claim, or says which living process has it. */
  take(key: Digest, run: string): 'taken' | Holder;
  /** Gives the claim back. */
  release(key: Digest): void;
  /** Resolves when nobody living holds the claim. Rejects when the signal aborts. */
  whenFree(key: Digest, signal: AbortSignal): Promise<void>;
  /** Removes the claims of dead processes. */
  sweep(): void;
}

const pollMs = 40;

export function openClaims(folder: string): Claims {
  const pathOf = (key: Digest) => join(folder, key);

  function holderOf(key: Digest): Holder | 'dead' | null {
    let text: string;
    try {
      text = readlinkSync(pathOf(key));
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return null;
      return 'dead';
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
      const text = `${identityText(self())}-${run}`;
      for (;;) {
        try {
          symlinkSync(text, pathOf(key));
          return 'taken';
        } catch (thrown) {
          if (errorCode(thrown) === 'ENOENT') mkdirSync(folder, { recursive: true });
          else if (errorCode(thrown) !== 'EEXIST') throw thrown;
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
    sweep() {
      let names: string[];
      try {
        names = readdirSync(folder);
      } catch {
        return;
      }
      for (const name of names) if (holderOf(name) === 'dead') bury(name);
    },
  };
}
