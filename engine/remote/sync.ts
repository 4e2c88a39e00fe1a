/** Bringing the store and the shared cache to the same state by hand: what a run does by itself, for all that is there. */
import { type Facts, readFacts } from '../assess.ts';
import type { Graph, Task } from '../graph.ts';
import type { Digest } from '../record.ts';
import { selectTasks } from '../select.ts';
import type { Workspace } from '../workspace.ts';
import { knownResults } from './ahead.ts';
import type { SharedCache } from './shared.ts';

export interface PushReport {
  readonly sent: number;
  readonly there: number;
  readonly unsent: number;
}

/** Sends the results under these keys, or all of the store, that the shared cache lacks. */
export async function pushResults(
  { store }: Workspace,
  shared: SharedCache,
  keys: readonly Digest[] | null,
): Promise<PushReport> {
  const chosen = keys ?? [...store.catalog.all()].map(({ key }) => key);
  const report = { sent: 0, there: 0, unsent: 0 };
  await Promise.all(
    chosen.map(async (key) => {
      // A result of which only the record is here came from there.
      const record = store.catalog.find(key) === null ? null : store.readRecord(key);
      if (record !== null) report[await shared.push(record)] += 1;
    }),
  );
  return report;
}

export interface PullReport {
  readonly wanted: number;
  /** Whole results that are here now, those that came just now among them. */
  readonly here: number;
  readonly fetched: number;
}

/** Brings here, whole, every result of the wanted tasks that can be known without running anything. */
export async function pullResults(
  workspace: Workspace,
  shared: SharedCache,
  graph: Graph,
  targets: readonly string[],
): Promise<PullReport> {
  const { tasks, facts } = await wantedTasks(workspace, graph, targets);
  const known = await knownResults(workspace, shared, tasks, facts, new Set());
  let here = 0;
  let fetched = 0;
  await Promise.all(
    [...known.values()].map(async ({ record }) => {
      if (record === null) here += 1;
      else if (await shared.fetch(record)) {
        here += 1;
        fetched += 1;
        shared.noteTaken([record.key]);
      }
    }),
  );
  return { wanted: tasks.length, here, fetched };
}

/** The keys of the wanted tasks that have a result in the store. */
export async function storedKeys(
  workspace: Workspace,
  shared: SharedCache,
  graph: Graph,
  targets: readonly string[],
): Promise<Digest[]> {
  const { tasks, facts } = await wantedTasks(workspace, graph, targets);
  const known = await knownResults(workspace, shared, tasks, facts, new Set());
  return [...known.values()].filter(({ record }) => record === null).map(({ key }) => key);
}

async function wantedTasks(
  workspace: Workspace,
  graph: Graph,
  targets: readonly string[],
): Promise<{ tasks: readonly Task[]; facts: Facts }> {
  const tasks = selectTasks(graph, targets);
  return { tasks, facts: await readFacts(workspace, tasks) };
}

export interface CacheState {
  readonly results: number;
  /** How many of them the shared cache has. */
  readonly there: number;
  /** How many it did not answer for. */
  readonly unknown: number;
  /** How long it took to answer the first question; null when it did not. */
  readonly milliseconds: number | null;
}

/** A key that nothing has: to ask for it shows whether the remote answers. */
const nobodysKey = '0'.repeat(64);

/** Asks the shared cache which of the store's results it has. */
export async function compareStores({ store }: Workspace, shared: SharedCache): Promise<CacheState> {
  const begun = performance.now();
  const answers = (await shared.has(nobodysKey)) !== 'unknown';
  const milliseconds = answers ? performance.now() - begun : null;
  const found = await Promise.all([...store.catalog.all()].map(({ key }) => shared.has(key)));
  return {
    results: found.length,
    there: found.filter((answer) => answer === true).length,
    unknown: found.filter((answer) => answer === 'unknown').length,
    milliseconds,
  };
}
