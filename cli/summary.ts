/** The last words of a run, gathered while it goes on: what became of its tasks, and what was published. */
import { join, relative } from 'node:path';
import type { Event } from '../engine/events.ts';
import type { Graph } from '../engine/graph.ts';
import { columns, count, duration, paint, tally, wrap } from './text.ts';

/** Hears every event of a run. */
export class Summary {
  readonly #graph: Graph;
  #run = '';
  readonly #published: string[] = [];
  readonly #failed = new Set<string>();
  /** What was not run. */
  readonly #skipped = new Set<string>();
  /** Whether some of it would have run with `-k`. */
  #couldGoOn = false;
  /** Tasks that other runs are at. */
  readonly #elsewhere = new Set<string>();
  readonly #runs = new Set<string>();
  readonly #problems = new Set<string>();
  #byOthers = 0;

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  /** @returns a line that is to be shown now, or null. */
  hear(event: Event): string | null {
    switch (event.type) {
      case 'run-started':
        this.#run = event.run;
        return null;
      case 'published':
        this.#published.push(relative(join(this.#graph.root, 'results', this.#graph.name), event.path));
        return null;
      case 'task-failed':
        this.#failed.add(event.task);
        return null;
      case 'task-skipped':
        this.#skipped.add(event.task);
        if (event.behind === null) this.#couldGoOn = true;
        return null;
      case 'task-done':
        if (this.isByOthers(event)) this.#byOthers += 1;
        return null;
      case 'task-waiting':
        // An equal task of the same run needs no words.
        if (event.run === this.#run) return null;
        this.#elsewhere.add(event.task);
        if (this.#runs.has(event.run)) return null;
        this.#runs.add(event.run);
        return wrap(
          `run ${event.run} (process ${event.pid}) is at ${event.task}: its results are waited for`,
          columns(),
          '',
        );
      default:
        return null;
    }
  }

  /** Whether another run has executed a task that this one waited for. */
  isByOthers({ task, origin }: Extract<Event, { type: 'task-done' }>): boolean {
    return origin === 'shared' && this.#elsewhere.has(task);
  }

  /** Whether a failure says what no other has said: the tasks of a stage may all lack the same file. */
  isNews({ task, failure, log }: Extract<Event, { type: 'task-failed' }>): boolean {
    if (log !== null) return true;
    const problem = failure.message.replaceAll(task, '');
    const isNews = !this.#problems.has(problem);
    this.#problems.add(problem);
    return isNews;
  }

  /** @returns the last words; one line if nothing was executed. */
  text({ status, counts, seconds }: Extract<Event, { type: 'run-finished' }>): string {
    const { name } = this.#graph;
    if (status === 'done' && counts.executed + counts.shared === 0) {
      return `${name}: up to date (${count(counts.wanted, 'task')}, ${duration(seconds)})`;
    }
    const counted = tally([
      [counts.executed, 'run'],
      [this.#byOthers, 'done by another run'],
      [counts.shared - this.#byOthers, 'shared with an equal task'],
      [counts.cached, 'up to date'],
      [counts.failed, 'failed'],
      [counts.skipped, 'not run'],
    ]);
    const style = status === 'done' ? 'green' : 'red';
    const lines = [`${name}: ${paint(style, status)} in ${duration(seconds)}: ${counted}`];
    if (status === 'failed') lines.push(...this.#losses());
    if (this.#published.length > 0) lines.push(`  results/${name}/: ${listed(this.#published)}`);
    return lines.join('\n');
  }

  /** What failed, where that is more than the one failure just read, and what was not run because of it. */
  #losses(): readonly string[] {
    const lines: string[] = [];
    if (this.#failed.size > 1) lines.push(`  failed: ${listed(byStage(this.#failed))}`);
    if (this.#skipped.size > 0) lines.push(`  not run: ${listed(byStage(this.#skipped))}`);
    if (this.#couldGoOn) lines.push('  -k goes on with what does not depend on a failed task');
    return lines;
  }
}

/** Tasks called by their stage, with their number, where there are several. */
function byStage(tasks: Iterable<string>): readonly string[] {
  const stages = new Map<string, string[]>();
  for (const task of tasks) {
    const stage = task.replace(/\[.*/s, '');
    const known = stages.get(stage);
    if (known === undefined) stages.set(stage, [task]);
    else known.push(task);
  }
  return [...stages].map(([stage, ids]) => (ids.length === 1 ? ids[0]! : `${stage} (${ids.length} tasks)`));
}

/** The first of a list, with how many more there are. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, 4);
  return `${shown.join(', ')}${names.length > shown.length ? ` and ${names.length - shown.length} more` : ''}`;
}
