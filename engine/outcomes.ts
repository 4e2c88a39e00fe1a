/** What becomes of the tasks of a run: their results, failures, and what was not run. Each end is a last state, an entry in the run's file and an event. */
import { join } from 'node:path';
import { messageOf } from './errors.ts';
import type { EventBody, Failure, RunCounts } from './events.ts';
import type { Result } from './publish.ts';
import type { Digest } from './record.ts';
import { keepLog, type TaskOutcome } from './runs.ts';
import type { States } from './state.ts';

/** A failure as a run tells it in the end. */
export interface TaskFailure {
  readonly task: string;
  readonly failure: Failure;
  /** The file of its log; null where there is none. */
  readonly log: string | null;
}

export class Outcomes {
  readonly #states: States;
  readonly #cache: string;
  readonly #run: string;
  readonly #say: (body: EventBody) => void;
  readonly #results = new Map<string, Result>();
  readonly #tasks = new Map<string, TaskOutcome>();
  readonly #failures: TaskFailure[] = [];

  /** @param cache @param run where logs of failed tasks are kept, and the id of the run that they are kept for. */
  constructor(states: States, cache: string, run: string, say: (body: EventBody) => void) {
    this.#states = states;
    this.#cache = cache;
    this.#run = run;
    this.#say = say;
  }

  /** Of the tasks that are done. */
  get results(): ReadonlyMap<string, Result> {
    return this.#results;
  }

  get failures(): readonly TaskFailure[] {
    return this.#failures;
  }

  /** As the file of the run has them. */
  get tasks(): Readonly<Record<string, TaskOutcome>> {
    return Object.fromEntries(this.#tasks);
  }

  done(id: string, result: Result, origin: 'executed' | 'shared', seconds: number): void {
    const { key, outputs } = result;
    this.#results.set(id, result);
    this.#end(id, 'Done', { outcome: origin, key, seconds, log: null });
    this.#say({ type: 'task-done', task: id, key, seconds, origin, outputs });
  }

  /** A task whose result is there without its being executed. */
  cached(id: string, result: Result): void {
    const { key } = result;
    this.#results.set(id, result);
    this.#end(id, 'Done', { outcome: 'cached', key, seconds: null, log: null });
    this.#say({ type: 'task-cached', task: id, key });
  }

  /** @param log all that it wrote, which is kept; null when it never started. @param tail its last lines. */
  failed(id: string, key: Digest | null, failure: Failure, log: Buffer | null, tail: readonly string[]): void {
    const kept = log === null ? null : this.#keep(id, log);
    this.#end(id, 'Failed', { outcome: 'failed', key, seconds: null, log: kept, message: failure.message });
    const path = kept === null ? null : join(this.#cache, kept);
    this.#failures.push({ task: id, failure, log: path });
    this.#say({ type: 'task-failed', task: id, failure, tail, log: path });
  }

  /** @param behind the failed task that it depends on, if that is why. */
  skipped(id: string, because: string, behind: string | null): void {
    this.#end(id, 'Skipped', { outcome: 'skipped', key: null, seconds: null, log: null, message: because });
    this.#say({ type: 'task-skipped', task: id, because, behind });
  }

  /** A task that is done, and whose result turned out to be damaged. */
  damaged(id: string, message: string): void {
    this.#failures.push({ task: id, failure: { kind: 'store', message }, log: null });
    this.#say({ type: 'warning', task: id, message });
  }

  counts(wanted: number): RunCounts {
    const counts = { wanted, executed: 0, cached: 0, shared: 0, failed: 0, skipped: 0 };
    for (const { outcome } of this.#tasks.values()) counts[outcome] += 1;
    return counts;
  }

  #end(id: string, state: 'Done' | 'Failed' | 'Skipped', outcome: TaskOutcome): void {
    this.#tasks.set(id, outcome);
    this.#states.move(id, state);
  }

  /** @returns the path of the log that is kept, relative to the cache, or null when the disk refuses it. */
  #keep(id: string, log: Buffer): string | null {
    try {
      return keepLog(this.#cache, this.#run, id, log);
    } catch (thrown) {
      this.#say({ type: 'warning', task: id, message: `the log could not be kept: ${messageOf(thrown)}` });
      return null;
    }
  }
}
