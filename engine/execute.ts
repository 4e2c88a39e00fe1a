/** Executes one task once: lays out its folder, has it run, checks what it left, and records the result. */
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Facts, lineageText, outsideFiles, producerKeys, sourceName } from './assess.ts';
import { type Attempt, AttemptError, beginAttempt, collectOutputs } from './attempt.ts';
import { pick, taskEnvironment } from './environment.ts';
import { messageOf } from './errors.ts';
import type { Failure } from './events.ts';
import { type Executor, type Order, type OrderListener, type Place, UnavailableError } from './executor.ts';
import type { Resources, Task } from './graph.ts';
import { nameInputs } from './input_names.ts';
import { lastLines } from './logs.ts';
import { canonicalJson } from './manifest.ts';
import type { Job } from './protocol.ts';
import type { Result } from './publish.ts';
import type { Digest, Manifest, TaskRecord } from './record.ts';
import { Masker, secretsOf } from './secrets.ts';
import { producersOf } from './select.ts';
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
  /** Whether it is to run though an attempt at it is under way already. */
  readonly fresh: boolean;
  /** The finished task of that name, with its outputs' paths. */
  readonly producer: (task: string) => { readonly task: Task; readonly result: Result };
  readonly signal: AbortSignal;
  /** Hears that the task is over, and what is left is to wait for the disk. */
  readonly recording: () => void;
  /** Takes what may go on while the next task runs, and must be over when the run is. */
  readonly afterwards: (work: Promise<void>) => void;
}

/** How an execution ended. */
export type Ending =
  | { readonly kind: 'recorded'; readonly record: TaskRecord }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'failed'; readonly failure: Failure; readonly log: Buffer; readonly tail: readonly string[] };

/** Runs a task once. Stores nothing unless it succeeded; its private folder goes in any case. */
export async function execute(
  workspace: Workspace,
  executor: Executor,
  execution: Execution,
  listener: OrderListener,
): Promise<Ending> {
  const { task, key, manifest, facts, signal } = execution;
  const { store } = workspace;
  const measurements: Record<string, number | string> = {};
  let place: Place | null = null;
  let wentWell = false;
  const masker = new Masker(pick(process.env, task.secrets));
  let log: Buffer = Buffer.alloc(0);
  try {
    signal.throwIfAborted();
    const underWay = execution.fresh ? null : await executor.underWay(key);
    if (underWay === null) await checkInputs(workspace, execution, 'before');
    const order = underWay ?? (await orderOf(workspace, executor, execution));
    place = order.place;
    const ended = await executor.run(
      order,
      {
        ...listener,
        warn: (message) => listener.warn(masker.text(message)),
        measure(name, given) {
          const value = typeof given === 'string' ? masker.text(given) : given;
          measurements[name] = value;
          listener.measure(name, value);
        },
      },
      signal,
    );
    log = masker.bytes(ended.log);
    if (signal.aborted) return { kind: 'cancelled' };
    if (ended.complaint !== null) {
      const { kind, message, stack } = ended.complaint;
      const shown = masker.text(nameInputs(message, task, order.job.inputs));
      return failed(log, task, kind, shown, stack === undefined ? stack : masker.text(stack));
    }
    await checkInputs(workspace, execution, 'after');
    const deposit = store.deposit();
    const outputs = await collectOutputs(deposit, task, order.job);
    if (task.action.kind === 'uses') {
      const { digest, listing } = facts.code.get(task.action.module)!;
      deposit.ensure(digest, () => canonicalJson(listing));
    }
    const record: TaskRecord = {
      key,
      manifest,
      outputs,
      log: deposit.putBytes(log),
      startedAt: ended.startedAt.toISOString(),
      seconds: ended.seconds,
      host: ended.host,
      ...(ended.job === null ? {} : { job: ended.job }),
      measurements,
      run: execution.run,
      task: task.id,
      producers: producerKeys(task, (id) => execution.producer(id).result),
      sources: Object.fromEntries(
        outsideFiles(task).map(([name, path]) => [name, relative(workspace.project.root, path)]),
      ),
    };
    execution.recording();
    await deposit.commit(record);
    wentWell = true;
    return { kind: 'recorded', record };
  } catch (thrown) {
    if (thrown instanceof UnavailableError) throw thrown;
    if (signal.aborted) return { kind: 'cancelled' };
    return failed(log, task, thrown instanceof AttemptError ? thrown.kind : 'store', messageOf(thrown));
  } finally {
    // While other work goes on: a busy disk takes longer to remove a folder than a small task to run.
    if (place !== null) execution.afterwards(place.leave(wentWell));
  }
}

function failed(log: Buffer, task: Task, kind: Failure['kind'], message: string, stack?: string): Ending {
  const failure: Failure = {
    kind,
    message: `task ${task.id} failed: ${message}`,
    ...(stack === undefined ? {} : { stack }),
  };
  return { kind: 'failed', failure, log, tail: lastLines(log, 20) };
}

/** Lays out an attempt. */
async function orderOf(workspace: Workspace, executor: Executor, execution: Execution): Promise<Order> {
  const { task, key, resources, producer } = execution;
  const { id, stage, timeoutSeconds } = task;
  const place = executor.place(key);
  const artifactOf = (from: string, name: string) => {
    const { task, result } = producer(from);
    return { artifact: result.outputs[name]!, path: task.outputs[name]! };
  };
  const lineage = () => lineageText(workspace, task, (from) => producer(from).result);
  const attempt = await beginAttempt(workspace.store, task, place, artifactOf, lineage);
  try {
    const job = await jobOf(workspace, execution, attempt);
    return { key, task: id, stage, place, job, resources, timeoutSeconds };
  } catch (thrown) {
    await place.leave(false);
    throw thrown;
  }
}

async function jobOf(workspace: Workspace, { task, resources }: Execution, attempt: Attempt): Promise<Job> {
  const { inputs, outputs, folder, scratch } = attempt;
  const common = { inputs, outputs, folder, scratch, env: taskEnvironment(task), secrets: secretsOf(task) };
  if (task.action.kind === 'run') {
    const { kind: _, ...command } = task.action;
    return { type: 'command', ...common, ...command };
  }
  const { stage, module } = task.action;
  const bundle = await workspace.stages.bundle(module);
  const retained = join(workspace.project.cache, 'retained', stage.replaceAll(/[^\w-]+/g, '-'));
  return {
    type: 'stage',
    ...common,
    module: pathToFileURL(bundle).href,
    params: task.params,
    cpus: resources.cpu,
    device: task.device,
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
        `${sourceName(name)}, ${path}, changed while the task ran; the result is not kept. Run again; if the task itself wrote to it, let it write to an output.`,
      );
    }
  }
}
