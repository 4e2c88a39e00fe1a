/** The loop of a run: takes wanted tasks through their states until each is done, failed or skipped. */
import { setMaxListeners } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { brokenBecause, type Facts, identify, readFacts } from './assess.ts';
import { sweepAttempts } from './attempt.ts';
import { type Emit, type EventBody, type Failure, type RunCounts, type RunStatus, stamped } from './events.ts';
import { type Ending, execute } from './execute.ts';
import type { Executor, OrderListener } from './executor.ts';
import { type ExecutorName, openExecutor } from './executors/open.ts';
import type { Graph, Resources, Task } from './graph.ts';
import { type Journal, openJournal } from './journal.ts';
import { Outcomes, type TaskFailure } from './outcomes.ts';
import { explainer, forcedTasks, type PlanOptions } from './plan.ts';
import { granted, openPools, type Pools, type Vacate } from './pools.ts';
import { enterRun } from './presence.ts';
import { criticalPath } from './priority.ts';
import { publish, type Result } from './publish.ts';
import type { Digest, Manifest, TaskRecord } from './record.ts';
import type { Known } from './remote/ahead.ts';
import { beginRun, keepRun, type RunRecord, writeRun } from './runs.ts';
import { producersOf, selectTasks } from './select.ts';
import { isFinal, States } from './state.ts';
import { sweepTemporaries } from './whole.ts';
import type { Reason } from './why.ts';
import type { Workspace } from './workspace.ts';

export interface RunOptions extends PlanOptions {
  /** The most tasks at a time; as many as there are cores if not given, and 100 on a cluster. */
  readonly jobs?: number;
  /** Whether tasks that do not depend on a failed one still start. */
  readonly keepGoing?: boolean;
  /** Interrupts the run: nothing new starts, what runs is ended. */
  readonly signal?: AbortSignal;
  /** Where tasks run; on this machine if not given. */
  readonly executor?: ExecutorName;
  /** What there is to share out on this machine; what it has if not given. */
  readonly pools?: Partial<Resources>;
}

export interface RunOutcome {
  readonly run: string;
  readonly status: RunStatus;
  readonly counts: RunCounts;
  readonly seconds: number;
  readonly failures: readonly TaskFailure[];
}

/**
 * Runs a pipeline. A task whose key has a record is done at once. The others start when what they depend on is done and
 * the pools have room, those with the most work hanging on them first; each result may make later tasks fresh again
 * (early cutoff). What is finished is recorded at once, so a kill loses none of it.
 * @throws UsageError for targets that name nothing and stages that cannot be built. A failing task does not throw.
 */
export async function runPipeline(
  workspace: Workspace,
  graph: Graph,
  options: RunOptions,
  emit: Emit,
): Promise<RunOutcome> {
  const started = performance.now();
  const tasks = selectTasks(graph, options.targets ?? []);
  const forced = forcedTasks(graph, options.force);
  const record = beginRun(graph.name, graph.profile, graph.params, options.targets ?? []);
  const leave = await enterRun(workspace.claims, record.id);
  const journal = openJournal(workspace.project.cache, record.id);
  const say = stamped((event) => {
    journal.hear(event);
    emit(event);
  });
  try {
    const facts = await readFacts(workspace, tasks);
    const executor = await openExecutor(options.executor ?? 'local', workspace, record, options);
    const run = new Run(workspace, graph, tasks, forced, facts, record, journal, executor, options, say);
    const outcome = await run.finish();
    return { ...outcome, seconds: (performance.now() - started) / 1000 };
  } finally {
    journal.close();
    leave();
  }
}

/** Whether large files may be published as hard links: read from pipe.config.yaml, where there is one. */
async function linkingOf(root: string): Promise<() => boolean> {
  if (!existsSync(join(root, 'pipe.config.yaml'))) return () => true;
  const { readConfig } = await import('./config.ts');
  return () => readConfig(root).link !== 'copy';
}

/** How often a task may lose the place where it runs (a dead node, preemption) before that counts as its failure. */
const forgivenLosses = 5;

/** A task that must be executed. */
interface Stale {
  readonly task: Task;
  readonly key: Digest;
  readonly manifest: Manifest;
  readonly isForced: boolean;
}

class Run {
  readonly #workspace: Workspace;
  readonly #graph: Graph;
  readonly #tasks: readonly Task[];
  readonly #byId: ReadonlyMap<string, Task>;
  readonly #forced: ReadonlySet<string>;
  readonly #facts: Facts;
  readonly #record: RunRecord;
  readonly #journal: Journal;
  readonly #keepGoing: boolean;
  readonly #say: (body: EventBody) => void;
  readonly #states: States;
  readonly #controller = new AbortController();
  /** What interrupts the run from outside. */
  readonly #interruption: AbortSignal;
  readonly #outcomes: Outcomes;
  /** Task -> those that take its artifacts or need it. */
  readonly #dependents = new Map<string, Task[]>();
  readonly #stale = new Map<string, Stale>();
  /** What is to be queued as soon as all tasks that are ready with it are known. */
  #ready: Stale[] = [];
  readonly #pools: Pools;
  readonly #executor: Executor;
  readonly #explain: ReturnType<typeof explainer>;
  /** Tasks queued or running; the run is over when there are none. */
  #active = 0;
  #idle: () => void = () => undefined;
  /** Clearing up that goes on beside the tasks. */
  readonly #afterwards: Promise<void>[] = [];
  /** What the engine itself threw. */
  #defect: unknown = null;
  #isPrepared = false;
  /** How much work hangs on a task; null while there was never more than one to choose from. */
  #priorities: ReadonlyMap<string, number> | null = null;
  /** What the shared cache spares this run; asked for when the first task is found stale. */
  #ahead: Promise<ReadonlyMap<string, Known>> | null = null;
  /** Why nothing new starts any more. */
  #stopped: string | null = null;

  constructor(
    workspace: Workspace,
    graph: Graph,
    tasks: readonly Task[],
    forced: ReadonlySet<string>,
    facts: Facts,
    record: RunRecord,
    journal: Journal,
    executor: Executor,
    options: RunOptions,
    say: (body: EventBody) => void,
  ) {
    this.#workspace = workspace;
    this.#graph = graph;
    this.#tasks = tasks;
    this.#byId = new Map(tasks.map((task) => [task.id, task]));
    this.#forced = forced;
    this.#facts = facts;
    this.#record = record;
    this.#journal = journal;
    this.#keepGoing = options.keepGoing ?? false;
    const warned = new Set<string>();
    this.#say = (body) => {
      if (body.type === 'warning') {
        if (warned.has(body.message)) return;
        warned.add(body.message);
      }
      say(body);
    };
    this.#states = new States((task, from, to) => say({ type: 'task-state', task, from, to }));
    this.#outcomes = new Outcomes(this.#states, workspace.project.cache, record.id, this.#say);
    this.#executor = executor;
    this.#pools = openPools(this.#executor.total, this.#executor.jobs);
    this.#explain = explainer(workspace, graph, facts);
    for (const task of tasks) {
      for (const id of new Set([...producersOf(task), ...task.needs])) {
        const list = this.#dependents.get(id);
        if (list === undefined) this.#dependents.set(id, [task]);
        else list.push(task);
      }
    }
    // Every task under way listens to it.
    setMaxListeners(0, this.#controller.signal);
    const { signal } = options;
    this.#interruption = signal ?? new AbortController().signal;
    const interrupt = () => {
      this.#stopped = 'the run was interrupted';
      this.#controller.abort();
    };
    if (signal?.aborted === true) interrupt();
    else signal?.addEventListener('abort', interrupt, { once: true });
  }

  async finish(): Promise<Omit<RunOutcome, 'seconds'>> {
    const begun = performance.now();
    const say = this.#say;
    say({
      type: 'run-started',
      run: this.#record.id,
      pipeline: this.#graph.name,
      profile: this.#graph.profile,
      wanted: this.#tasks.length,
    });
    for (const task of this.#tasks) this.#states.move(task.id, 'Wanted');
    await this.#begin();
    if (this.#active > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    // Idle processes end, and folders go, while results are published and the run is kept.
    const closing = this.#close();
    closing.catch(() => undefined);
    let ended: Omit<RunOutcome, 'seconds'>;
    try {
      if (this.#defect !== null) throw this.#defect;
      ended = await this.#conclude();
    } finally {
      await closing;
    }
    const { status, counts } = ended;
    say({ type: 'run-finished', run: this.#record.id, status, counts, seconds: (performance.now() - begun) / 1000 });
    return ended;
  }

  async #close(): Promise<void> {
    this.#controller.abort();
    await this.#executor.close();
    await Promise.all(this.#afterwards);
    this.#workspace.claims.close();
  }

  /** Publishes what was found and made, and keeps what became of the run. */
  async #conclude(): Promise<Omit<RunOutcome, 'seconds'>> {
    const say = this.#say;
    for (const { id } of this.#tasks)
      if (!isFinal(this.#states.of(id))) this.#skip(id, this.#stopped ?? 'it was never reached');

    const counts = this.#outcomes.counts(this.#tasks.length);
    const ended: RunStatus =
      this.#stopped === 'the run was interrupted' ? 'interrupted' : counts.failed > 0 ? 'failed' : 'done';
    const whole = ended === 'done' && this.#tasks.length === this.#graph.tasks.length;
    const { project, store } = this.#workspace;
    const resultOf = (task: string) => this.#outcomes.results.get(task) ?? null;
    const mayLink = await linkingOf(project.root);
    const damaged = await publish(project.results, store, this.#graph, resultOf, mayLink, whole, say);
    for (const { task, artifact } of damaged) {
      const message = `its artifact \`${artifact}\` is damaged in the store and was not published. It has been put aside; run again, and ${task} is recomputed.`;
      this.#outcomes.damaged(task, message);
    }
    const status = ended === 'done' && damaged.length > 0 ? 'failed' : ended;
    this.#journal.flush();
    keepRun(project.cache, this.#workspace.memo, {
      ...this.#record,
      finishedAt: new Date().toISOString(),
      status,
      tasks: this.#outcomes.tasks,
    });
    this.#workspace.save();
    // Only where it was opened has it anything to finish.
    if (this.#ahead !== null) await (await this.#workspace.shared())?.finish(this.#interruption);
    return { run: this.#record.id, status, counts, failures: this.#outcomes.failures };
  }

  async #begin(): Promise<void> {
    try {
      this.#refuseBroken();
      // What a shared cache may have is asked for first.
      let isExpected = this.#workspace.mayShare;
      // In topological order every fresh task finds its producers done.
      for (const task of this.#tasks) {
        this.#consider(task);
        const last = this.#ready.at(-1)?.task;
        if (isExpected || last?.action.kind !== 'uses' || last.resources.gpu > 0) continue;
        // It takes as long to be there as the rest of a large graph to be looked at.
        isExpected = true;
        await this.#executor.expect();
      }
      this.#queueReady();
    } catch (thrown) {
      // What is queued by now is waited for all the same, so that nothing is at work when the run is over.
      this.#break(thrown);
    }
  }

  /** Queues all that is ready at once: of them, those with the highest priority start first. */
  #queueReady(): void {
    const ready = this.#ready;
    this.#ready = [];
    if (ready.length > 0 && ready.length + this.#active > 1) {
      this.#priorities ??= criticalPath(this.#tasks, this.#workspace.store.catalog.all());
    }
    this.#pools.together(() => {
      for (const stale of ready) this.#queue(stale);
    });
  }

  /** Fails at once what can never run, so that nobody waits hours to hear of a file that is not there or a secret that is not set. */
  #refuseBroken(): void {
    for (const task of this.#tasks) {
      const problem = isFinal(this.#states.of(task.id)) ? null : brokenBecause(task, this.#facts);
      if (problem === null) continue;
      const { file, line } = task.location;
      const message = `task ${task.id} cannot run: ${problem} (${file}:${line})`;
      this.#fail(task.id, null, { kind: 'input-changed', message }, null, []);
    }
  }

  /** Looks at a wanted task whose producers may all be done: it is fresh, or goes on to be executed. */
  #consider(task: Task): void {
    const open = [task];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (this.#settle(next)) open.push(...(this.#dependents.get(next.id) ?? []).toReversed());
    }
  }

  /** @returns whether the task is done now. */
  #settle(task: Task): boolean {
    const { id } = task;
    if (this.#states.of(id) !== 'Wanted') return false;
    const known = this.#stale.get(id);
    if (known === undefined) {
      if (!producersOf(task).every((producer) => this.#outcomes.results.has(producer))) return false;
      const { manifest, key } = identify(
        this.#workspace,
        task,
        this.#facts,
        (producer) => this.#outcomes.results.get(producer)!,
      );
      const { catalog } = this.#workspace.store;
      const entry = catalog.find(key);
      if (entry !== null && !this.#forced.has(id)) {
        this.#states.move(id, 'Ready');
        this.#outcomes.cached(task.id, { key, outputs: entry.outputs });
        return true;
      }
      this.#stale.set(id, { task, key, manifest, isForced: entry !== null });
    }
    if (this.#stopped !== null || !task.needs.every((needed) => this.#outcomes.results.has(needed))) return false;
    this.#states.move(id, 'Ready');
    this.#ready.push(this.#stale.get(id)!);
    return false;
  }

  #queue(stale: Stale): void {
    this.#active += 1;
    this.#obtain(stale)
      .catch((thrown: unknown) => this.#break(thrown))
      .finally(() => {
        this.#active -= 1;
        if (this.#active === 0) this.#idle();
      });
  }

  /** Takes the result from the shared cache, or has the task executed. */
  async #obtain(stale: Stale): Promise<void> {
    if (this.#workspace.mayShare && (await this.#takeShared(stale))) return;
    const { task } = stale;
    const resources = granted(task.resources, this.#pools.total);
    if (resources === null) {
      const message = `task ${task.id} needs ${task.resources.gpu} GPUs; this machine offers ${this.#pools.total.gpu}`;
      this.#fail(task.id, stale.key, { kind: 'resources', message }, null, []);
      return;
    }
    this.#prepare();
    this.#states.move(task.id, 'Queued');
    await this.#admitUntilSettled(stale, resources);
  }

  /** @returns whether the task is done (or skipped) now. */
  async #takeShared({ task, key, isForced }: Stale): Promise<boolean> {
    const shared = await this.#workspace.shared();
    if (shared === null) return false;
    this.#ahead ??= import('./remote/ahead.ts').then(({ takeAhead }) =>
      takeAhead(this.#workspace, shared, this.#graph, this.#tasks, this.#facts, this.#forced),
    );
    const known = (await this.#ahead).get(task.id);
    if (this.#stopped !== null) {
      this.#skip(task.id, this.#stopped);
      return true;
    }
    if (isForced) return false;
    if (known?.key === key) {
      this.#shared(task, known);
      return true;
    }
    // Its key could not be known before what it depends on had run.
    const record = await shared.ask(key);
    if (record === null || !(await shared.fetch(record))) return false;
    shared.noteTaken([key]);
    this.#shared(task, record);
    return true;
  }

  /** Goes on with a result of the shared cache. */
  #shared(task: Task, { key, outputs }: Result): void {
    this.#outcomes.cached(task.id, { key, outputs });
    this.#considerDependents(task);
  }

  /** Lets nothing new start, because the engine itself threw. */
  #break(thrown: unknown): void {
    this.#defect ??= thrown;
    this.#stopped ??= 'the engine failed';
  }

  /** Before the first execution of the run: clears what dead runs left half-made, and says that this run is under way. */
  #prepare(): void {
    if (this.#isPrepared) return;
    this.#isPrepared = true;
    const { project, store, claims } = this.#workspace;
    store.sweep();
    claims.sweep();
    sweepAttempts(project.cache);
    for (const folder of ['code', 'memo', 'runs']) sweepTemporaries(join(project.cache, folder));
    writeRun(project.cache, this.#record);
  }

  /** Waits for room in the pools, and for another run if one has claimed the same key. */
  async #admitUntilSettled(stale: Stale, resources: Resources): Promise<void> {
    const { key, task } = stale;
    const { claims } = this.#workspace;
    for (;;) {
      const holder = await this.#pools.admit(resources, this.#priorities?.get(task.id) ?? 0, async (vacate) => {
        if (this.#stopped !== null) {
          this.#skip(task.id, this.#stopped);
          return null;
        }
        const taken = claims.take(key, this.#record.id);
        if (taken !== 'taken') return taken;
        try {
          if (!this.#shareResult(stale)) await this.#execute(stale, resources, vacate);
        } finally {
          claims.release(key);
        }
        return null;
      });
      if (holder === null) return;
      this.#say({ type: 'task-waiting', task: task.id, run: holder.run, pid: holder.identity.pid });
      try {
        await claims.whenFree(key, this.#controller.signal);
      } catch {
        this.#skip(task.id, this.#stopped ?? 'the run was interrupted');
        return;
      }
      if (this.#shareResult(stale)) return;
    }
  }

  /** Takes the result that another run has recorded since this one looked. @returns whether there is one. */
  #shareResult({ task, key, isForced }: Stale): boolean {
    if (isForced) return false;
    const entry = this.#workspace.store.recorded(key);
    if (entry === null) return false;
    this.#done(task, { key, outputs: entry.outputs }, 'shared', entry.seconds);
    return true;
  }

  async #execute(stale: Stale, resources: Resources, vacate: Vacate): Promise<void> {
    const { task, key } = stale;
    let [failures, losses] = [0, 0];
    for (let attempt = 1; ; attempt++) {
      const ending = await this.#tryOnce(stale, resources, attempt, vacate);
      if (ending.kind === 'recorded') {
        this.#done(task, { key, outputs: ending.record.outputs }, 'executed', ending.record.seconds);
        await this.#offer(ending.record);
        return;
      }
      if (ending.kind === 'cancelled') {
        this.#skip(task.id, this.#stopped ?? 'the run was interrupted');
        return;
      }
      if (ending.failure.kind === 'lost') losses += 1;
      else failures += 1;
      if (failures > task.retry || losses > forgivenLosses || this.#stopped !== null) {
        this.#fail(task.id, key, ending.failure, ending.log, ending.tail);
        return;
      }
      this.#say({ type: 'task-retried', task: task.id, attempt, failure: ending.failure });
      // It may have failed before it ran.
      if (this.#states.of(task.id) === 'Running') this.#states.move(task.id, 'Queued');
    }
  }

  #tryOnce(stale: Stale, resources: Resources, attempt: number, vacate: Vacate): Promise<Ending> {
    const { task, key, manifest, isForced } = stale;
    const say = this.#say;
    const listener: OrderListener = {
      queued: (job, adopted) => say({ type: 'task-queued', task: task.id, job, adopted }),
      started: (log) => {
        this.#states.move(task.id, 'Running');
        const reason: Reason = isForced ? { kind: 'forced' } : this.#explain(task, key, manifest);
        say({ type: 'task-started', task: task.id, key, attempt, reason, log });
      },
      progress: (done, total) => say({ type: 'task-progress', task: task.id, done, total }),
      warn: (message) => say({ type: 'warning', task: task.id, message }),
      measure: (name, value) => say({ type: 'task-measured', task: task.id, name, value }),
    };
    return execute(
      this.#workspace,
      this.#executor,
      {
        task,
        key,
        manifest,
        facts: this.#facts,
        resources,
        run: this.#record.id,
        fresh: isForced || attempt > 1,
        producer: (id) => ({ task: this.#byId.get(id)!, result: this.#outcomes.results.get(id)! }),
        signal: this.#controller.signal,
        // What waits for the result is to start before what has a lower priority. Should the disk refuse the result, the next attempt
        // is one more than there are jobs.
        recording: () => vacate(this.#following(task)),
        afterwards: (work) => {
          // What could not be removed is swept by a later run.
          this.#afterwards.push(work.catch(() => undefined));
        },
      },
      listener,
    );
  }

  /** The highest priority of what waits for a task. */
  #following({ id }: Task): number {
    return (this.#dependents.get(id) ?? []).reduce(
      (most, task) => Math.max(most, this.#priorities?.get(task.id) ?? 0),
      Number.NEGATIVE_INFINITY,
    );
  }

  #done(task: Task, result: Result, origin: 'executed' | 'shared', seconds: number): void {
    this.#outcomes.done(task.id, result, origin, seconds);
    this.#considerDependents(task);
  }

  #considerDependents({ id }: Task): void {
    for (const dependent of this.#dependents.get(id) ?? []) this.#consider(dependent);
    this.#queueReady();
  }

  /** Sends what was executed to the shared cache while the run goes on. */
  async #offer(record: TaskRecord): Promise<void> {
    if (this.#workspace.mayShare) (await this.#workspace.shared())?.offer(record);
  }

  #fail(id: string, key: Digest | null, failure: Failure, log: Buffer | null, tail: readonly string[]): void {
    this.#outcomes.failed(id, key, failure, log, tail);
    if (!this.#keepGoing) this.#stopped ??= `the run stopped when ${id} failed`;
    this.#skipDependents(id);
  }

  #skipDependents(failed: string): void {
    const open = [failed];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const { id: dependent } of this.#dependents.get(next) ?? []) {
        if (isFinal(this.#states.of(dependent))) continue;
        this.#outcomes.skipped(dependent, `${failed} failed`, failed);
        open.push(dependent);
      }
    }
  }

  #skip(id: string, because: string): void {
    this.#outcomes.skipped(id, because, null);
  }
}
