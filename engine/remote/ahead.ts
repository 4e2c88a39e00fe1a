/** What a shared cache can spare a run: asked for ahead of it, so that what it gives stays given. */
import { brokenBecause, type Facts, identify } from '../assess.ts';
import type { Graph, Task } from '../graph.ts';
import { canonicalJson } from '../manifest.ts';
import type { Artifact, Digest, TaskRecord } from '../record.ts';
import { producersOf } from '../select.ts';
import type { Workspace } from '../workspace.ts';
import type { SharedCache } from './shared.ts';

/** A result that is known: `record` is null for one of the local store. */
export interface Known {
  readonly key: Digest;
  readonly outputs: Readonly<Record<string, Artifact>>;
  readonly record: TaskRecord | null;
}

/**
 * The results of tasks that can be known now: from the store, then from the shared cache. A record names what its task wrote, so
 * the keys of the tasks behind it follow, and a whole graph is asked for in as many waves as it is deep.
 * @param tasks in topological order.
 */
export async function knownResults(
  workspace: Pick<Workspace, 'store' | 'fingerprints'>,
  shared: SharedCache,
  tasks: readonly Task[],
  facts: Facts,
  forced: ReadonlySet<string>,
): Promise<Map<string, Known>> {
  const asked = new Map<string, Promise<Known | null>>();

  async function find(task: Task): Promise<Known | null> {
    if (forced.has(task.id) || brokenBecause(task, facts) !== null) return null;
    const producers = new Map<string, Known>();
    for (const id of producersOf(task)) {
      const known = await asked.get(id);
      if (known === null || known === undefined) return null;
      producers.set(id, known);
    }
    const { key } = identify(workspace, task, facts, (id) => producers.get(id)!);
    const entry = workspace.store.catalog.find(key);
    if (entry !== null) return { key, outputs: entry.outputs, record: null };
    const record = await shared.ask(key);
    return record === null ? null : { key, outputs: record.outputs, record };
  }

  for (const task of tasks) asked.set(task.id, find(task));
  const known = new Map<string, Known>();
  for (const { id } of tasks) {
    const result = await asked.get(id)!;
    if (result !== null) known.set(id, result);
  }
  return known;
}

/**
 * Finds what the shared cache spares a run, and brings here those results that are needed: what a task will read that has to be
 * executed, and what is published. Of the others the record is enough. Afterwards no result that was promised is missed later: what
 * could not be brought is no longer in the answer, nor is what stands on it, since making it again may give something else.
 * @param tasks those that are wanted, in topological order.
 * @returns task -> its result, for those whose record is the shared cache's.
 */
export async function takeAhead(
  workspace: Pick<Workspace, 'store' | 'fingerprints'>,
  shared: SharedCache,
  graph: Graph,
  tasks: readonly Task[],
  facts: Facts,
  forced: ReadonlySet<string>,
): Promise<Map<string, Known>> {
  const known = await knownResults(workspace, shared, tasks, facts, forced);
  const published = new Set(graph.publications.map(({ task }) => task));
  const here = new Set<string>();
  for (;;) {
    const read = new Set<string>();
    for (const task of tasks) if (!known.has(task.id)) for (const id of producersOf(task)) read.add(id);
    const needed = [...known].filter(([id, { record }]) => {
      return record !== null && !here.has(id) && (read.has(id) || published.has(id));
    });
    const fetched = await Promise.all(
      needed.map(async ([id, { record }]) => [id, await shared.fetch(record!)] as const),
    );
    const failed = fetched.filter(([, isHere]) => !isHere);
    for (const [id] of fetched) here.add(id);
    if (failed.length === 0) break;
    for (const [id] of failed) known.delete(id);
    for (const task of tasks) if (!producersOf(task).every((id) => known.has(id))) known.delete(task.id);
  }
  const given = new Map([...known].filter(([, { record }]) => record !== null));
  shared.noteTaken([...given.values()].map(({ key }) => key));
  await keepListings(workspace, tasks, given, facts);
  return given;
}

/** Keeps the listings of the code behind results whose blobs stay away: they are known here, and explanations need them. */
async function keepListings(
  { store }: Pick<Workspace, 'store'>,
  tasks: readonly Task[],
  given: ReadonlyMap<string, Known>,
  facts: Facts,
): Promise<void> {
  const modules = new Set<string>();
  for (const { id, action } of tasks) if (action.kind === 'uses' && given.has(id)) modules.add(action.module);
  const deposit = store.deposit();
  for (const module of modules) {
    const { digest, listing } = facts.code.get(module)!;
    deposit.ensure(digest, () => canonicalJson(listing));
  }
  await deposit.settle();
}
