/** The program of a worker process: imports stage modules and runs one task at a time, or a command, as the engine asks. */
import { mkdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { Worker as Thread } from 'node:worker_threads';
import { runCommand } from './command.ts';
import type { Complaint, Description, Job, Reply, Request, StageJob } from './protocol.ts';
import { Masker } from './secrets.ts';
import { type Stage, StageError } from './stage.ts';
import { endStragglers, newestProcess, openFiles, openFilesIn, strayText } from './stragglers.ts';

/** How often a task's progress is passed on. */
const progressMs = 100;

/** The files that this process itself needs: those that are open before it runs anything. */
let own: ReadonlySet<string> | undefined;

serve();

/**
 * Ends the process group when the engine is gone. A thread of its own: a stage may compute for minutes without
 * returning to the event loop, where the closed channel would be noticed. Given as text, it is there before a module would be
 * found. The engine says who it is: it may have died before the first look.
 */
function startWatch(engine: number): void {
  const watch = `setInterval(() => {
    if (process.ppid !== ${engine}) process.kill(-process.pid, 'SIGKILL');
  }, 250)`;
  new Thread(watch, { eval: true }).unref();
}

function serve(): void {
  startWatch(Number(process.argv[2]));
  process.on('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
  let controller = new AbortController();
  process.on('message', async (request: Request) => {
    switch (request.type) {
      case 'abort':
        controller.abort(new Error('the task was cancelled'));
        return;
      case 'describe':
        reply({ type: 'described', description: await describe(request.module) });
        return;
      case 'stage':
      case 'command': {
        controller = new AbortController();
        const before = newestProcess();
        own ??= new Set(openFiles());
        const result =
          request.type === 'stage' ? await runStage(request, controller.signal) : await runCommand(request);
        const complaint = result ?? leftAtWork(request, before);
        reply(complaint === null ? { type: 'finished' } : { type: 'failed', complaint });
      }
    }
  });
}

/** Nothing may write to an artifact once the engine has it. @returns why the task has not ended well, or null. */
function leftAtWork({ type, folder }: Job, before: number): Complaint | null {
  const home = dirname(folder);
  try {
    for (const straggler of endStragglers(home, before, process.pid)) {
      reply({ type: 'warning', message: strayText(straggler) });
    }
  } catch (thrown) {
    return { kind: 'crash', message: (thrown as Error).message };
  }
  const [open] = type === 'stage' ? openFilesIn(home, own!) : [];
  if (open === undefined) return null;
  const message = `ended while it held ${basename(open)} open: close it, and await that, before the stage returns`;
  return { kind: 'exception', message };
}

function reply(message: Reply): void {
  if (process.connected) process.send!(message);
}

async function importStage(module: string): Promise<Stage> {
  const { default: stage } = (await import(module)) as { default?: Partial<Stage> };
  // What it declares is looked at by the engine (engine/declaration.ts).
  if (typeof stage?.run !== 'function')
    throw new StageError('is no stage: its default export must be what defineStage({ … }) returns');
  return stage as Stage;
}

async function describe(module: string): Promise<Description> {
  try {
    const { description, params, inputs, outputs, environment, accelerated } = await importStage(module);
    return {
      interface: JSON.parse(JSON.stringify({ description, params, inputs, outputs, environment, accelerated })),
    };
  } catch (thrown) {
    const { name, message, stack = message } = thrown instanceof Error ? thrown : new Error(`threw ${String(thrown)}`);
    return { problem: name === 'StageError' ? message : stack };
  }
}

async function runStage(job: StageJob, signal: AbortSignal): Promise<Complaint | null> {
  process.chdir(job.folder);
  const before = { ...process.env };
  Object.assign(process.env, job.env, job.secrets);
  const unmask = maskOutput(new Masker(job.secrets));
  let told = 0;
  try {
    const stage = await importStage(job.module);
    await stage.run({
      params: job.params as never,
      inputs: job.inputs as never,
      outputs: job.outputs,
      cpus: job.cpus,
      device: job.device,
      get scratch() {
        return made(job.scratch);
      },
      get retained() {
        return made(job.retained);
      },
      signal,
      log: (line) => {
        process.stdout.write(`${line}\n`);
      },
      warn: (message) => {
        process.stdout.write(`warning: ${message}\n`);
        reply({ type: 'warning', message });
      },
      progress: (done, total) => {
        const now = Date.now();
        if (now - told < progressMs && done < total) return;
        told = now;
        reply({ type: 'progress', done, total });
      },
      measure: (name, value) => {
        const exact = typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
        reply({ type: 'measure', name, value: exact });
      },
    });
    return null;
  } catch (thrown) {
    return complaintOf(thrown);
  } finally {
    unmask();
    // What this task was given, or has set, is not for the next one.
    for (const name of Object.keys(process.env)) if (before[name] === undefined) delete process.env[name];
    Object.assign(process.env, before);
    // The private folder is about to go.
    process.chdir('/');
  }
}

/** A folder that is made when it is asked for. */
function made(folder: string): string {
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Masks what the process writes through Node from now on. @returns what ends that, with all written out. */
function maskOutput(masker: Masker): () => void {
  if (masker.isIdle) return () => undefined;
  const ends = [process.stdout, process.stderr].map((output) => {
    const write = output.write;
    const flow = masker.flow();
    output.write = ((content: string | Uint8Array, ...rest: unknown[]) => {
      const done = rest.at(-1);
      const masked = flow.take(content);
      return typeof done === 'function' ? write.call(output, masked, done as never) : write.call(output, masked);
    }) as typeof write;
    return () => {
      output.write = write;
      output.write(flow.end());
    };
  });
  return () => {
    for (const end of ends) end();
  };
}

function complaintOf(thrown: unknown): Complaint {
  if (!(thrown instanceof Error)) return { kind: 'exception', message: `threw ${String(thrown)}` };
  // A bundle holds its own copy of the class: `instanceof` would not know it.
  if (thrown.name === 'StageError') return { kind: 'stage-error', message: thrown.message };
  return { kind: 'exception', message: `${thrown.name}: ${thrown.message}`, stack: thrown.stack ?? '' };
}
