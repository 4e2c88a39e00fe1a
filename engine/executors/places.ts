/** The private folders of this machine's attempts. One that is left as it was made serves the next attempt, under another name. */
import { lstatSync, readdirSync, renameSync, unlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { inputPrefix } from '../attempt.ts';
import { errorCode } from '../errors.ts';
import type { Place } from '../executor.ts';
import { removeTree } from '../store.ts';
import { makeFolderWith } from '../whole.ts';

/** An empty folder that an attempt has left. */
interface Spare {
  readonly home: string;
  readonly shape: string;
  readonly mode: number;
}

/** How many are kept: more than jobs that are under way at a time leave, and few to look through. */
const mostSpares = 16;

export interface Places {
  next(): Place;
  /** Removes the folders that are kept. */
  close(): Promise<void>;
}

const shapeOf = (folders: readonly string[]) => [...folders].sort().join('/');

/** @param name makes a path that nothing has had. */
export function openPlaces(name: () => string): Places {
  const spares: Spare[] = [];
  return {
    next() {
      const home = name();
      let made: Omit<Spare, 'home'> | null = null;
      return {
        home,
        make(folders) {
          const shape = shapeOf(folders);
          const at = spares.findLastIndex((spare) => spare.shape === shape);
          const [spare] = at === -1 ? [] : spares.splice(at, 1);
          if (spare === undefined || !isRenamed(spare.home, home)) makeFolderWith(home, folders);
          made = { shape, mode: spare?.mode ?? lstatSync(home).mode };
        },
        async leave(wentWell) {
          if (made === null) return;
          if (!wentWell) return removeThoroughly(home);
          // What knows the old name finds nothing there from now on.
          const spare = { home: name(), ...made };
          renameSync(home, spare.home);
          if (spares.length < mostSpares && isAsMade(spare)) spares.push(spare);
          else await removeThoroughly(spare.home);
        },
      };
    },
    async close() {
      await Promise.all(spares.splice(0).map(({ home }) => removeThoroughly(home)));
    },
  };
}

/** Renames a folder. @returns whether it was there: somebody may have cleared the cache. */
function isRenamed(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (thrown) {
    if (errorCode(thrown) !== 'ENOENT') throw thrown;
    return false;
  }
}

/** Takes out the links to inputs. @returns whether nothing is left but the folders as they were made. */
function isAsMade({ home, shape, mode }: Spare): boolean {
  try {
    const names = readdirSync(home);
    if (lstatSync(home).mode !== mode || shapeOf(names) !== shape) return false;
    return names.every((name) => {
      const folder = join(home, name);
      if (lstatSync(folder).mode !== mode) return false;
      const left = readdirSync(folder);
      if (!name.startsWith(inputPrefix)) return left.length === 0;
      for (const link of left) unlinkSync(join(folder, link));
      return true;
    });
  } catch {
    return false;
  }
}

/** What the ordinary removal cannot do, read-only folders, the thorough one can. */
async function removeThoroughly(home: string): Promise<void> {
  await rm(home, { recursive: true, force: true }).catch(() => removeTree(home));
}
