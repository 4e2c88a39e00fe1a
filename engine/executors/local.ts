/** Runs tasks in warm worker processes of this machine. */
import { mkdirSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { machineGpus } from '../devices.ts';
import type { Executor } from '../executor.ts';
import type { Resources } from '../graph.ts';
import { thisHost } from '../host.ts';
import { identityText, self } from '../identity.ts';
import { readLog } from '../logs.ts';
import { removeTree } from '../store.ts';
import { endStragglers, newestProcess } from '../stragglers.ts';
import { supervised } from '../supervise.ts';
import { openWorkers, type Worker } from '../workers.ts';

let places = 0;

/**
 * Removes a private folder. That of a small task holds some links and empty folders, and takes a few system calls; a large
 * one is removed beside other work; what neither can do, read-only folders, the thorough removal can.
 */
async function removeAttempt(home: string): Promise<void> {
  try {
    for (const name of readdirSync(home)) {
      const folder = join(home, name);
      if (name.startsWith('in-')) for (const link of readdirSync(folder)) unlinkSync(join(folder, link));
      rmdirSync(folder);
    }
    rmdirSync(home);
  } catch {
    await rm(home, { recursive: true, force: true }).catch(() => removeTree(home));
  }
}

/**
 * @param work the folder of private folders and of the workers' logs, whose names begin with the identity of this process: a later
 * run removes what a dead one left.
 * @param entry gives the program that worker processes run.
 */
export function openLocal(
  work: string,
  entry: () => Promise<string>,
  run: string,
  total: Resources,
  jobs: number,
): Executor {
  const workers = openWorkers(
    () => {
      mkdirSync(work, { recursive: true });
      return entry();
    },
    work,
    `${identityText(self())}-${run}`,
  );
  // Where more are pretended than there are, they are numbered on.
  const gpus = Array.from({ length: total.gpu }, (_, index) => machineGpus()[index] ?? String(index));
  return {
    total,
    jobs,
    place() {
      places += 1;
      const home = join(work, `${identityText(self())}-${places}`);
      return { home, remove: () => removeAttempt(home) };
    },
    expect: () => workers.expect(),
    underWay: () => Promise.resolve(null),
    async run({ job, resources, timeoutSeconds, place }, listener, signal) {
      // The pools have seen to it that there are enough.
      const held = gpus.splice(0, resources.gpu).sort();
      let worker: Worker | null = null;
      try {
        worker = await workers.take(held.length === 0 ? null : held.join(','));
        const before = newestProcess();
        const startedAt = new Date();
        const begun = performance.now();
        const ending = supervised(worker, job, listener, timeoutSeconds, signal);
        // It is at work while this is told and found out.
        listener.started(worker.log);
        const host = thisHost();
        const complaint = await ending;
        // A worker that was ended could not end what had left its process group.
        if (!worker.isAlive) endStragglers(place.home, before, worker.pid);
        const seconds = (performance.now() - begun) / 1000;
        // What a failed task has left in a GPU's memory goes with the process.
        if (complaint !== null && held.length > 0) await worker.stop();
        return { complaint, log: readLog(worker.log), startedAt, seconds, host, job: null };
      } catch (thrown) {
        await worker?.stop();
        throw thrown;
      } finally {
        if (worker !== null) workers.give(worker);
        gpus.unshift(...held);
      }
    },
    close: () => workers.stopAll(),
  };
}
