/** Garbage: what may go from cache/, by age of runs and by size, and its removal. */
import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { blobsOf, type Entry, shards } from './catalog.ts';
import { hasJobs, jobsFolder, sweepJobs } from './executors/jobs_folder.ts';
import { journalPath } from './journal.ts';
import { withoutRuns } from './presence.ts';
import { forgetPromise, promisedKeys, readPromisedRecord } from './promises.ts';
import type { Digest } from './record.ts';
import { listRuns, runsFolder } from './runs.ts';
import { namesIn, removeTree } from './store.ts';
import type { Workspace } from './workspace.ts';

export interface GarbageOptions {
  /** Keep records only of the newest runs of each pipeline, so many of them. */
  readonly keepRuns?: number;
  /** Remove records, the longest unused first, until the blobs take no more than this. */
  readonly maxBytes?: number;
}

export interface GarbagePlan {
  readonly records: readonly Entry[];
  readonly blobs: readonly { readonly digest: Digest; readonly bytes: number }[];
  /** Keys of a shared cache's records that no run stands on any more. */
  readonly promises: readonly Digest[];
  /** Ids of runs whose files go. */
  readonly runs: readonly string[];
  /** Folders of the cache that are rebuilt when needed, and quarantine. */
  readonly folders: readonly string[];
  /** What the blobs that go, and those that stay, take. */
  readonly freedBytes: number;
  readonly keptBytes: number;
}

/** Finds what may go: blobs that no record names in any case, and records by the options given. Removes nothing. */
export function planGarbage({ store, project }: Workspace, { keepRuns, maxBytes }: GarbageOptions): GarbagePlan {
  const sizes = new Map<Digest, number>();
  for (const shard of shards) {
    const folder = join(project.cache, 'cas', shard);
    for (const name of namesIn(folder)) sizes.set(name, statSync(join(folder, name)).size);
  }
  const { keptKeys, keptRuns, oldRuns, lastUsed } = readRuns(project.cache, keepRuns ?? Number.POSITIVE_INFINITY);
  const entries = [...store.catalog.all()];
  const kept = new Set(
    keepRuns === undefined ? entries : entries.filter(({ key, run }) => keptKeys.has(key) || keptRuns.has(run)),
  );

  const references = new Map<Digest, number>();
  for (const entry of kept)
    for (const digest of new Set(blobsOf(entry))) references.set(digest, (references.get(digest) ?? 0) + 1);
  let keptBytes = 0;
  for (const digest of references.keys()) keptBytes += sizes.get(digest) ?? 0;
  const used = (entry: Entry) => lastUsed.get(entry.key) ?? entry.startedAt;
  for (const entry of [...kept].sort((a, b) => (used(a) < used(b) ? -1 : 1))) {
    if (keptBytes <= (maxBytes ?? Number.POSITIVE_INFINITY)) break;
    kept.delete(entry);
    for (const digest of new Set(blobsOf(entry))) {
      const left = references.get(digest)! - 1;
      if (left > 0) references.set(digest, left);
      else {
        references.delete(digest);
        keptBytes -= sizes.get(digest) ?? 0;
      }
    }
  }
  const promises = promisedKeys(project.cache);
  for (const key of promises) {
    // Of a result that is elsewhere, what its code was is here.
    const code = keptKeys.has(key) ? readPromisedRecord(project.cache, key)?.manifest.code : null;
    if (code != null) references.set(code, (references.get(code) ?? 0) + 1);
  }
  const blobs = [...sizes].filter(([digest]) => !references.has(digest)).map(([digest, bytes]) => ({ digest, bytes }));
  return {
    records: entries.filter((entry) => !kept.has(entry)),
    blobs,
    promises: promises.filter((key) => !keptKeys.has(key)),
    runs: oldRuns,
    folders: ['quarantine', ...(hasJobs(jobsFolder(project.cache)) ? [] : ['trees', 'code']), 'memo/graphs'].filter(
      (name) => namesIn(join(project.cache, name)).length > 0,
    ),
    freedBytes: blobs.reduce((sum, { bytes }) => sum + bytes, 0),
    keptBytes,
  };
}

function readRuns(cache: string, keep: number) {
  const keptKeys = new Set<Digest>();
  // A run that was killed names no keys, but its records name the run.
  const keptRuns = new Set<string>();
  const oldRuns: string[] = [];
  const lastUsed = new Map<Digest, string>();
  const seen = new Map<string, number>();
  for (const run of listRuns(cache)) {
    const count = (seen.get(run.pipeline) ?? 0) + 1;
    seen.set(run.pipeline, count);
    if (count > keep) oldRuns.push(run.id);
    else keptRuns.add(run.id);
    for (const { key } of Object.values(run.tasks)) {
      if (key === null) continue;
      if (count <= keep) keptKeys.add(key);
      if (!lastUsed.has(key)) lastUsed.set(key, run.startedAt);
    }
  }
  return { keptKeys, keptRuns, oldRuns, lastUsed };
}

/**
 * Finds what may go, and removes it. Records go before the blobs that they name, so a kill in between leaves no record
 * without its blobs.
 * @returns what was removed.
 * @throws UsageError while a run is under way: it counts on records that it has seen, and its newest blobs have none yet.
 */
export function collectGarbage(workspace: Workspace, options: GarbageOptions): GarbagePlan {
  const { store, project, claims } = workspace;
  const { cache } = project;
  return withoutRuns(claims, () => {
    const plan = planGarbage(workspace, options);
    for (const { key } of plan.records) store.removeRecord(key);
    for (const key of plan.promises) forgetPromise(cache, key);
    for (const { digest } of plan.blobs) rmSync(store.blobPath(digest), { force: true });
    for (const id of plan.runs) {
      rmSync(join(runsFolder(cache), `${id}.json`), { force: true });
      removeTree(join(runsFolder(cache), `${id}.logs`));
      rmSync(journalPath(cache, id), { force: true });
    }
    for (const name of plan.folders) removeTree(join(cache, name));
    store.sweep();
    // What ended on a cluster while no run looked, and none came for.
    sweepJobs(jobsFolder(cache), true);
    return plan;
  });
}
