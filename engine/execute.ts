/** Executes one task once: lays out its folder, runs it in a worker, checks what it left, and records the result. */
import { mkdirSync } from 'node:fs';
import { cpus, hostname } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Facts, outsideFiles, sourceName } from './assess.ts';
import { type Attempt, AttemptError, beginAttempt, collectOutputs } from './attempt.ts';
import { messageOf } from './errors.ts';
import type { EventBody, Failure } from './events.ts';
import type { Resources, Task } from './graph.ts';
import { nameInputs } from './input_names.ts';
import { lastLines, readLog } from './logs.ts';
import { canonicalJson } from './manifest.ts';
import type { Job } from './protocol.ts';
import type { Result } from './publish.ts';
import type { Digest, Host, Manifest, TaskRecord } from './record.ts';
import { producersOf } from './select.ts';
import type { Worker } from './workers.ts';
import type { Workspace } from './workspace.ts';

/** What an execution needs to know. */
export interface Execution {
  readonly task: Task;
  readonly key: Digest;
  readonly manifest: Manifest;
  readonly facts: Facts;
  /** What was granted of the pools. */
  readonly resources: Resources;
  readonly run: string;
  /** The finished task of that name, with its outputs' paths. */
  readonly producer: (task: string) => { readonly task: Task; readonly result: Result };
  readonly signal: AbortSignal;
  /** Takes what may go on while the next task runs, and must be over when the run is. */
  readonly afterwards: (work: Promise<void>) => void;
}

/** How an execution ended. */
export type Ending =
  | { readonly kind: 'recorded'; readonly record: TaskRecord }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'failed'; readonly failure: Failure; readonly log: Buffer; readonly tail: readonly string[] };

/** Runs a task in the given worker. Stores nothing unless it succeeded; its private folder goes in any case. */
export async function execute(
  workspace: Workspace,
  worker: Worker,
  execution: Execution,
  say: (body: EventBody) => void,
): Promise<Ending> {
  const { task, key, manifest, facts, signal } = execution;
  const { store } = workspace;
  const started = new Date();
  const measurements: Record<string, number | string> = {};
  let attempt: Attempt | null = null;
  try {
    signal.throwIfAborted();
    await checkInputs(workspace, execution, 'before');
    attempt = await beginAttempt(store, task, (id, name) => {
      const producer = execution.producer(id);
      return { artifact: producer.result.outputs[name]!, path: producer.task.outputs[name]! };
    });
    const job = await jobOf(workspace, execution, attempt);
    const begun = performance.now();
    const complaint = await supervised(worker, task, signal, () =>
      worker.run(job, {
        progress: (done, total) => say({ type: 'task-progress', task: task.id, done, total }),
        warn: (message) => say({ type: 'warning', task: task.id, message }),
        measure: (name, value) => {
          measurements[name] = value;
          say({ type: 'task-measured', task: task.id, name, value });
        },
      }),
    );
    const seconds = (performance.now() - begun) / 1000;
    if (signal.aborted) return { kind: 'cancelled' };
    if (complaint !== null) {
      const message = nameInputs(complaint.message, task, attempt.inputs);
      return failed(worker, task, complaint.kind, message, complaint.stack);
    }
    await checkInputs(workspace, execution, 'after');
    const deposit = store.deposit();
    const outputs = await collectOutputs(deposit, task, attempt);
    if (task.action.kind === 'uses') deposit.putBytes(canonicalJson(facts.code.get(task.action.module)!.listing));
    const record: TaskRecord = {
      key,
      manifest,
      outputs,
      log: deposit.putBytes(readLog(worker.log)),
      startedAt: started.toISOString(),
      seconds,
      host: thisHost(),
      measurements,
      run: execution.run,
      task: task.id,
      producers: producerKeys(execution),
      sources: Object.fromEntries(
        outsideFiles(task).map(([name, path]) => [name, relative(workspace.project.root, path)]),
      ),
    };
    await deposit.commit(record);
    return { kind: 'recorded', record };
  } catch (thrown) {
    if (signal.aborted) return { kind: 'cancelled' };
    return failed(worker, task, thrown instanceof AttemptError ? thrown.kind : 'store', messageOf(thrown));
  } finally {
    if (attempt !== null) execution.afterwards(attempt.remove());
  }
}

/** The keys behind a task's inputs. */
function producerKeys({ task, producer }: Execution): TaskRecord['producers'] {
  const keyOf = ({ task: id }: { readonly task: string }) => producer(id).result.key;
  return Object.fromEntries(
    Object.entries(task.inputs).flatMap(([name, input]) => {
      if (input.kind === 'file') return [];
      return [[name, input.kind === 'all' ? input.members.map(keyOf) : keyOf(input)]];
    }),
  );
}

function failed(worker: Worker, task: Task, kind: Failure['kind'], message: string, stack?: string): Ending {
  const log = readLog(worker.log);
  const failure: Failure = {
    kind,
    message: `task ${task.id} failed: ${message}`,
    ...(stack === undefined ? {} : { stack }),
  };
  return { kind: 'failed', failure, log, tail: lastLines(log, 20) };
}

/** Waits for a running task; ends its process when it runs out of time or the run is cancelled. */
async function supervised(
  worker: Worker,
  task: Task,
  signal: AbortSignal,
  run: () => ReturnType<Worker['run']>,
): ReturnType<Worker['run']> {
  let timedOut = false;
  const cancel = () => worker.cancel();
  signal.addEventListener('abort', cancel);
  const limit = task.timeoutSeconds;
  const timer =
    limit === null
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          worker.cancel();
        }, limit * 1000);
  try {
    const complaint = await run();
    if (!timedOut && !signal.aborted) return complaint;
    // It may have ended in time to answer: whatever it started goes with it.
    await worker.stop();
    return { kind: 'timeout', message: `it took longer than its timeout of ${limit} s` };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', cancel);
  }
}

async function jobOf(workspace: Workspace, { task, resources }: Execution, attempt: Attempt): Promise<Job> {
  const { inputs, outputs, folder, scratch } = attempt;
  const common = { inputs, outputs, folder, scratch, env: task.env };
  if (task.action.kind === 'run') {
    const { kind: _, ...command } = task.action;
    return { type: 'command', ...common, ...command };
  }
  const { stage, module } = task.action;
  const bundle = await workspace.stages.bundle(module);
  const retained = join(workspace.project.cache, 'retained', stage.replaceAll(/[^\w-]+/g, '-'));
  mkdirSync(retained, { recursive: true });
  return {
    type: 'stage',
    ...common,
    module: pathToFileURL(bundle).href,
    params: task.params,
    cpus: resources.cpu,
    retained,
  };
}

/**
 * Compares what a task reads with what its manifest says: blobs by their seal, files outside the store by content.
 * @throws AttemptError naming the input that is damaged or changed.
 */
async function checkInputs(
  { store, digester }: Workspace,
  { task, facts, producer }: Execution,
  when: 'before' | 'after',
): Promise<void> {
  for (const id of producersOf(task)) {
    const { result } = producer(id);
    for (const [name, artifact] of Object.entries(result.outputs)) {
      if ((await store.unsound(artifact)).length === 0) continue;
      store.catalog.remove(result.key);
      throw new AttemptError(
        'input-changed',
        when === 'before'
          ? `its input \`${name}\` of ${id} is damaged in the store. It has been put aside; run again, and ${id} is recomputed.`
          : `its input \`${name}\` of ${id} was modified while the task ran. Inputs are read-only: write to the outputs. The damaged copy has been put aside; run again, and ${id} is recomputed.`,
      );
    }
  }
  if (when === 'before') return;
  for (const [name, path] of outsideFiles(task)) {
    const now = await digester.of(path).catch((thrown: unknown) => messageOf(thrown));
    if (typeof now === 'string' || now.digest !== facts.files.get(path)?.digest) {
      throw new AttemptError(
        'input-changed',
        `${sourceName(name)}, ${path}, changed while the task ran; the result is not kept. Run again.`,
      );
    }
  }
}

let host: Host | undefined;
function thisHost(): Host {
  host ??= {
    name: hostname(),
    platform: `${process.platform}-${process.arch}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
  };
  return host;
}
