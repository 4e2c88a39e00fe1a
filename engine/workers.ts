/** Warm worker processes: each runs one task at a time, and one that crashes or runs out of time is replaced. */
import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { commonEnvironment } from './environment.ts';
import type { Complaint, Description, Job, Listener, Reply, Request } from './protocol.ts';
import type { Runner } from './supervise.ts';

/** How long a cancelled task may take to end by itself. */
const graceMs = 500;

export interface Worker extends Runner<Job> {
  /** The GPUs that it was bound to: its CUDA_VISIBLE_DEVICES; null where it was not bound. */
  readonly gpus: string | null;
  /** Imports a bundled module and gives its interface. */
  describe(module: string): Promise<Description>;
}

/**
 * Starts a worker process. It leads its own process group, so that what it starts can be ended with it, and writes
 * straight to the log: a task that prints a gigabyte costs the engine no memory, and a crash leaves its last words.
 * @param gpus its CUDA_VISIBLE_DEVICES, for all its life: CUDA reads it once; null leaves that of this process.
 */
export async function startWorker(entry: string, log: string, gpus: string | null = null): Promise<Worker> {
  const output = openSync(log, 'a');
  const child = fork(entry, [String(process.pid)], {
    stdio: ['ignore', output, output, 'ipc'],
    execArgv: ['--enable-source-maps'],
    serialization: 'advanced',
    detached: true,
    env: { ...commonEnvironment(), ...(gpus === null ? {} : { CUDA_VISIBLE_DEVICES: gpus }) },
  });
  let alive = true;
  let settle: ((answer: { reply: Reply } | { died: Complaint }) => void) | null = null;
  let listener: Listener | null = null;

  const gone = new Promise<void>((resolve) => {
    const end = (message: string) => {
      if (!alive) return;
      alive = false;
      closeSync(output);
      settle?.({ died: { kind: 'crash', message } });
      resolve();
    };
    child.on('exit', (code, signal) => {
      // Whatever the process started must not outlive it.
      killGroup(child);
      end(signal === null ? `its process exited with code ${code} before the task was done` : describeSignal(signal));
    });
    child.on('error', (error) => end(`its process could not be used: ${error.message}`));
  });
  child.on('message', (reply: Reply) => {
    if (reply.type === 'progress') listener?.progress(reply.done, reply.total);
    else if (reply.type === 'warning') listener?.warn(reply.message);
    else if (reply.type === 'measure') listener?.measure(reply.name, reply.value);
    else settle?.({ reply });
  });

  function ask(request: Request): Promise<{ reply: Reply } | { died: Complaint }> {
    if (!alive) return Promise.resolve({ died: { kind: 'crash', message: 'its process had ended' } });
    return new Promise((resolve) => {
      settle = (answer) => {
        settle = null;
        resolve(answer);
      };
      // A failure to send shows as the process's exit.
      child.send(request, () => undefined);
    });
  }

  return {
    pid: child.pid ?? 0,
    log,
    gpus,
    get isAlive() {
      return alive;
    },
    async describe(module) {
      const answer = await ask({ type: 'describe', module });
      if ('died' in answer) return { problem: `while it was imported, ${answer.died.message}` };
      return answer.reply.type === 'described' ? answer.reply.description : { problem: 'gave no description' };
    },
    async run(job, taskListener) {
      if (alive) ftruncateSync(output, 0);
      listener = taskListener;
      const answer = await ask(job);
      listener = null;
      if ('died' in answer) return answer.died;
      return answer.reply.type === 'failed' ? answer.reply.complaint : null;
    },
    cancel() {
      if (!alive) return;
      child.send({ type: 'abort' } satisfies Request, () => undefined);
      setTimeout(() => killGroup(child), graceMs).unref();
    },
    async stop() {
      killGroup(child);
      await gone;
    },
  };
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // No process of the group is left.
  }
}

function describeSignal(signal: NodeJS.Signals): string {
  const meaning: Partial<Record<NodeJS.Signals, string>> = {
    SIGSEGV: 'a memory error in native code',
    SIGABRT: 'native code gave up, or memory ran out',
    SIGKILL: 'ended from outside; the system does so when memory runs out',
    SIGBUS: 'a memory error: a file that was mapped shrank, or the disk is full',
    SIGILL: 'an instruction that this processor does not have',
  };
  return `its process was ended by ${signal}${meaning[signal] === undefined ? '' : ` (${meaning[signal]})`}`;
}

/** The workers of one run. */
export interface Workers {
  /** Starts a worker that is bound to no GPU, for the first that will be taken. One that cannot be started shows when it is taken. */
  expect(): Promise<void>;
  /** An idle worker that is bound to these GPUs, or a new one. */
  take(gpus: string | null): Promise<Worker>;
  /** Gives a worker back; one that has died is forgotten. */
  give(worker: Worker): void;
  stopAll(): Promise<void>;
}

/**
 * @param folder where the logs of the processes lie.
 * @param prefix begins the names of the logs.
 */
export function openWorkers(entry: () => Promise<string>, folder: string, prefix: string): Workers {
  const idle: Worker[] = [];
  const all = new Set<Worker>();
  let started = 0;
  const forget = (worker: Worker) => {
    all.delete(worker);
    rmSync(worker.log, { force: true });
  };
  async function start(gpus: string | null): Promise<Worker> {
    started += 1;
    const log = join(folder, `${prefix}-worker-${started}.log`);
    const worker = await startWorker(await entry(), log, gpus);
    all.add(worker);
    return worker;
  }
  return {
    async expect() {
      try {
        idle.push(await start(null));
      } catch {
        // What stands in the way now does so then.
      }
    },
    async take(gpus) {
      for (let at = idle.length - 1; at >= 0; at--) {
        if (idle[at]!.gpus !== gpus) continue;
        const [worker] = idle.splice(at, 1);
        if (worker!.isAlive) return worker!;
        forget(worker!);
      }
      return start(gpus);
    },
    give(worker) {
      if (worker.isAlive) idle.push(worker);
      else forget(worker);
    },
    async stopAll() {
      await Promise.all([...all].map((worker) => worker.stop()));
      for (const worker of all) forget(worker);
    },
  };
}
