/** Runs and `gc` keep out of each other's way: what a run finds in the catalog stays there while the run lasts. */
import type { Claims } from './claims.ts';
import { UsageError } from './errors.ts';

/** The claim of whoever removes records. */
const gc = 'gc';
const runPrefix = 'run.';

/**
 * Says that a run is under way, then waits for a `gc` that began before. Each of the two shows itself before it looks for the
 * other, so whichever comes second sees the first.
 * @returns what ends it.
 */
export async function enterRun(claims: Claims, run: string): Promise<() => void> {
  const name = runPrefix + run;
  try {
    claims.take(name, run);
  } catch {
    // Where nothing can be written nothing can be removed either.
    return () => undefined;
  }
  await claims.whenFree(gc, new AbortController().signal);
  return () => {
    claims.release(name);
    claims.close();
  };
}

/** Does what no run may go on beside. @throws UsageError when a run is under way, or another `gc`. */
export function withoutRuns<T>(claims: Claims, work: () => T): T {
  const other = claims.take(gc, gc);
  if (other !== 'taken') throw new UsageError(`another \`pipe gc\` is at work (process ${other.identity.pid})`);
  try {
    const run = claims.held().find((name) => name.startsWith(runPrefix));
    if (run !== undefined) {
      throw new UsageError(`run ${run.slice(runPrefix.length)} is under way: collect garbage when it has ended`);
    }
    return work();
  } finally {
    claims.release(gc);
    claims.close();
  }
}
