/** Runs tasks on this machine: stages in warm worker processes, commands by launchers where there are such. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { machineGpus } from '../devices.ts';
import type { Ended, Executor, Order, OrderListener } from '../executor.ts';
import type { Resources } from '../graph.ts';
import { thisHost } from '../host.ts';
import { identityText, self } from '../identity.ts';
import { launcherProgram, openLaunchers } from '../launcher.ts';
import { readLog } from '../logs.ts';
import type { CommandJob, Job } from '../protocol.ts';
import { endStragglers } from '../stragglers.ts';
import { type Runner, supervised } from '../supervise.ts';
import { openWorkers } from '../workers.ts';
import type { Workspace } from '../workspace.ts';
import { openPlaces } from './places.ts';

let named = 0;

/** Idle processes of one kind. */
interface Pool<J extends Job> {
  take(gpus: string | null): Promise<Runner<J>>;
  give(runner: Runner<J>): void;
}

/** Whether a launcher may run it: the output of one that knows a secret is masked on its way. */
function isPlainCommand(job: Job): job is CommandJob {
  return job.type === 'command' && Object.keys(job.secrets).length === 0;
}

/**
 * @param workspace has the programs of workers and launchers. Where there is no launcher, workers run commands.
 * @param work the folder of private folders and of the processes' logs, whose names begin with the identity of this process: a later
 * run removes what a dead one left.
 */
export function openLocal(
  { project, stages }: Pick<Workspace, 'project' | 'stages'>,
  work: string,
  run: string,
  total: Resources,
  jobs: number,
): Executor {
  const prefix = `${identityText(self())}-${run}`;
  const workers = openWorkers(
    () => {
      mkdirSync(work, { recursive: true });
      return stages.workerEntry();
    },
    work,
    prefix,
  );
  const launcher = launcherProgram(project.packageRoot);
  const launchers = launcher === null ? null : openLaunchers(launcher, work, prefix);
  const places = openPlaces(() => {
    named += 1;
    return join(work, `${identityText(self())}-${named}`);
  });
  // Where more are pretended than there are, they are numbered on.
  const gpus = Array.from({ length: total.gpu }, (_, index) => machineGpus()[index] ?? String(index));

  async function runWith<J extends Job>(
    pool: Pool<J>,
    job: J,
    held: readonly string[],
    { place, timeoutSeconds }: Order,
    listener: OrderListener,
    signal: AbortSignal,
  ): Promise<Ended> {
    const runner = await pool.take(held.length === 0 ? null : held.join(','));
    try {
      const startedAt = new Date();
      const begun = performance.now();
      const ending = supervised(runner, job, listener, timeoutSeconds, signal);
      // It is at work while this is told and found out.
      listener.started(runner.log);
      const host = thisHost();
      const complaint = await ending;
      // A process that was ended could not end what had left its process group. All of that began after it.
      if (!runner.isAlive) endStragglers(place.home, runner.pid, runner.pid);
      const seconds = (performance.now() - begun) / 1000;
      // What a failed task has left in a GPU's memory goes with the process.
      if (complaint !== null && held.length > 0) await runner.stop();
      return { complaint, log: readLog(runner.log), startedAt, seconds, host, job: null };
    } catch (thrown) {
      await runner.stop();
      throw thrown;
    } finally {
      pool.give(runner);
    }
  }

  return {
    total,
    jobs,
    place: () => places.next(),
    expect: () => workers.expect(),
    underWay: () => Promise.resolve(null),
    async run(order, listener, signal) {
      const { job, resources } = order;
      // The pools have seen to it that there are enough.
      const held = gpus.splice(0, resources.gpu).sort();
      try {
        if (launchers === null || !isPlainCommand(job)) {
          return await runWith(workers, job, held, order, listener, signal);
        }
        const seen = held.length === 0 ? {} : { CUDA_VISIBLE_DEVICES: held.join(',') };
        return await runWith(launchers, { ...job, env: { ...seen, ...job.env } }, held, order, listener, signal);
      } finally {
        gpus.unshift(...held);
      }
    },
    async close() {
      await Promise.all([workers.stopAll(), launchers?.stopAll()]);
      await places.close();
    },
  };
}
