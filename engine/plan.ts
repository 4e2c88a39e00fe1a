/** What a run would do, found out without running anything: which tasks are fresh, and why the others are not. */

import type { Facts } from './assess.ts';
import { brokenBecause, identify, readFacts } from './assess.ts';
import type { Entry } from './catalog.ts';
import { readCodeListing } from './code.ts';
import type { Graph, Task } from './graph.ts';
import { canonicalJson } from './manifest.ts';
import type { Digest, Manifest } from './record.ts';
import type { Known } from './remote/ahead.ts';
import { openHistory } from './runs.ts';
import { producersOf, selectTasks, tasksNamed } from './select.ts';
import { differencesOf, type Reason } from './why.ts';
import type { Workspace } from './workspace.ts';

/** A task and whether its result is there. `pending`: producers are stale; their results may come out equal, and this one fresh. */
export type PlannedTask =
  | { readonly task: Task; readonly state: 'fresh'; readonly key: Digest; readonly entry: Finished }
  | {
      readonly task: Task;
      readonly state: 'stale';
      readonly key: Digest;
      readonly manifest: Manifest;
      readonly reason: Reason;
    }
  | { readonly task: Task; readonly state: 'pending'; readonly waitsFor: readonly string[]; readonly reason: Reason }
  | { readonly task: Task; readonly state: 'broken'; readonly message: string };

/** What is told of a result: of the store, or of the shared cache. */
type Finished = Omit<Entry, 'others'>;

export interface RunPlan {
  readonly graph: Graph;
  /** The wanted tasks, in topological order. */
  readonly tasks: readonly PlannedTask[];
  readonly counts: {
    readonly fresh: number;
    readonly stale: number;
    readonly pending: number;
    readonly broken: number;
  };
}

export interface PlanOptions {
  readonly targets?: readonly string[];
  /** Tasks (named like targets) that are to run though they are fresh. */
  readonly force?: readonly string[] | 'all';
}

/**
 * Plans a run.
 * @throws UsageError for a target that names nothing, or a stage that cannot be built.
 */
export async function makePlan(workspace: Workspace, graph: Graph, options: PlanOptions = {}): Promise<RunPlan> {
  const tasks = selectTasks(graph, options.targets ?? []);
  const facts = await readFacts(workspace, tasks);
  const forced = forcedTasks(graph, options.force);
  const because = explainer(workspace, graph, facts);
  const { catalog } = workspace.store;

  const look = (given: ReadonlyMap<string, Known>): PlannedTask[] => {
    const fresh = new Map<string, Finished>();
    return tasks.map((task) => planOne(task, fresh, given));
  };
  const planOne = (task: Task, fresh: Map<string, Finished>, given: ReadonlyMap<string, Known>): PlannedTask => {
    const waitsFor = producersOf(task).filter((id) => !fresh.has(id));
    if (waitsFor.length > 0) return { task, state: 'pending', waitsFor, reason: { kind: 'upstream', tasks: waitsFor } };
    const message = brokenBecause(task, facts);
    if (message !== null) return { task, state: 'broken', message };
    const { manifest, key } = identify(workspace, task, facts, (id) => fresh.get(id)!);
    const known = given.get(task.id);
    const entry = catalog.find(key) ?? (known?.key === key ? known.record : null);
    if (entry !== null && !forced.has(task.id)) {
      fresh.set(task.id, entry);
      return { task, state: 'fresh', key, entry };
    }
    return {
      task,
      state: 'stale',
      key,
      manifest,
      reason: entry === null ? because(task, key, manifest) : { kind: 'forced' },
    };
  };

  let planned = look(new Map());
  if (workspace.mayShare && planned.some(({ state }) => state === 'stale')) {
    const shared = await workspace.shared();
    if (shared !== null) {
      const { knownResults } = await import('./remote/ahead.ts');
      planned = look(await knownResults(workspace, shared, tasks, facts, forced));
    }
  }
  const counts = { fresh: 0, stale: 0, pending: 0, broken: 0 };
  for (const { state } of planned) counts[state] += 1;
  return { graph, tasks: planned, counts };
}

/** The ids of the tasks that are to run in any case. */
export function forcedTasks(graph: Graph, force: PlanOptions['force']): ReadonlySet<string> {
  if (force === undefined) return new Set();
  if (force === 'all') return new Set(graph.tasks.map((task) => task.id));
  // Naming nothing is an error here as it is for targets.
  selectTasks(graph, force);
  return new Set(force.flatMap((name) => tasksNamed(graph, name)).map((task) => task.id));
}

/** Says of a task without a usable record what is different from the last time it ran. */
export function explainer(
  { store }: Pick<Workspace, 'store'>,
  graph: Graph,
  facts: Facts,
): (task: Task, key: Digest, manifest: Manifest) => Reason {
  const lastKey = openHistory(store, graph.name);
  const current = new Map([...facts.code.values()].map((code) => [code.digest, code.listing]));
  return (task, key, manifest) => {
    const missing = store.catalog.lost(key);
    if (missing !== null)
      return { kind: 'lost', detail: `the blob ${missing.slice(0, 12)} of its result is gone from the store` };
    const last = lastKey(task.id);
    if (last === null) return { kind: 'new' };
    const record = store.readRecord(last);
    if (record === null) return { kind: 'lost', detail: 'its record is gone from the store' };
    const differences = differencesOf(record.manifest, manifest, (code) => {
      const listing = current.get(code);
      if (listing !== undefined) return listing;
      return store.hasBlob(code) ? readCodeListing(store.blobPath(code)) : null;
    });
    return { kind: 'changed', since: record.startedAt, differences };
  };
}

/** The blob of a code listing. */
export function codeBlob(listing: Readonly<Record<string, string>>): string {
  return canonicalJson(listing);
}
