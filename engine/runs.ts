/** What became of every run: cache/runs/<id>.json, and the logs of the tasks that failed in it. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { checkedJson, parseChecked } from './checked.ts';
import { sha256 } from './digest.ts';
import type { RunStatus } from './events.ts';
import { type Identity, isAlive, self } from './identity.ts';
import type { Memo } from './memo.ts';
import type { Digest } from './record.ts';
import type { Json } from './stage.ts';
import { namesIn, type Store } from './store.ts';
import { writeWhole } from './whole.ts';

/** What became of a task in a run. */
export interface TaskOutcome {
  readonly outcome: 'executed' | 'cached' | 'shared' | 'failed' | 'skipped';
  readonly key: Digest | null;
  readonly seconds: number | null;
  /** The log of a failed task, relative to the cache; that of a finished one is in its record. */
  readonly log: string | null;
  readonly message?: string;
}

export interface RunRecord {
  readonly id: string;
  readonly pipeline: string;
  readonly profile: string | null;
  readonly params: Readonly<Record<string, Json>>;
  readonly targets: readonly string[];
  readonly startedAt: string;
  readonly finishedAt: string | null;
  /** A run that never finished and whose process is gone is interrupted. */
  readonly status: 'running' | RunStatus;
  readonly owner: Identity;
  readonly tasks: Readonly<Record<string, TaskOutcome>>;
}

/** A new run's id: `20260131T101530.042-layer-sensitivity-1f2e3d`. Ids sort by time. */
export function newRunId(pipeline: string): string {
  const time = new Date().toISOString().slice(0, 23).replaceAll(/[-:]/g, '');
  return `${time}-${pipeline.replaceAll(/[^\w.-]+/g, '-')}-${randomBytes(3).toString('hex')}`;
}

export function runsFolder(cache: string): string {
  return join(cache, 'runs');
}

/** Writes a run's file whole. */
export function writeRun(cache: string, run: RunRecord): void {
  writeWhole(join(runsFolder(cache), `${run.id}.json`), checkedJson(run));
}

/** What `keepRun` remembers of a pipeline, so that it need not read the file of a large run to find that nothing is new. */
interface Kept {
  /** The newest run of the pipeline, and the newest of any when that was found. */
  readonly run: string;
  readonly newest: string;
  /** Of what an idle run finds. */
  readonly digest: Digest;
}

/** Writes the file of a run that has ended, unless all was cached and the newest run of its pipeline says the same already. */
export function keepRun(cache: string, memo: Memo, run: RunRecord): void {
  const table = (memo.read('kept-runs') ?? {}) as Record<string, Kept>;
  if (isIdle(run)) {
    const digest = digestOf(run);
    const kept = table[run.pipeline];
    const newest = runIds(cache)[0];
    if (kept?.digest === digest && kept.newest === newest && isKept(cache, kept.run)) return;
    const last = latestRun(cache, run.pipeline);
    if (last !== null && newest !== undefined && isSame(last, run)) {
      memo.write('kept-runs', { ...table, [run.pipeline]: { run: last.id, newest, digest } satisfies Kept });
      return;
    }
  }
  writeRun(cache, run);
}

function isKept(cache: string, run: string): boolean {
  return existsSync(join(runsFolder(cache), `${run}.json`));
}

function isIdle({ status, tasks }: RunRecord): boolean {
  return status === 'done' && Object.values(tasks).every(({ outcome }) => outcome === 'cached');
}

/** Whether two runs found the same results, however those came to be there. */
function isSame(last: RunRecord, run: RunRecord): boolean {
  const tasks = Object.entries(run.tasks);
  return (
    last.status === run.status &&
    last.profile === run.profile &&
    Object.keys(last.tasks).length === tasks.length &&
    tasks.every(([id, { key }]) => last.tasks[id]?.key === key)
  );
}

/** The digest of what an idle run found; its tasks come in the order of the graph. */
function digestOf({ profile, tasks }: RunRecord): Digest {
  return sha256([String(profile), ...Object.entries(tasks).map(([id, { key }]) => `${id} ${key}`)].join('\n'));
}

/**
 * Keeps the log of a task that failed in a run. @returns its path relative to the cache
 * @throws Error when the disk refuses it; nothing of it is left then.
 */
export function keepLog(cache: string, run: string, task: string, log: Buffer): string {
  const name = task.replaceAll(/[^\w=,.[\]-]+/g, '-').slice(0, 150);
  const path = join('runs', `${run}.logs`, `${name}.log`);
  try {
    mkdirSync(dirname(join(cache, path)), { recursive: true });
    writeFileSync(join(cache, path), log);
  } catch (thrown) {
    rmSync(join(cache, path), { force: true });
    throw thrown;
  }
  return path;
}

/** The ids of all runs, newest first. */
export function runIds(cache: string): string[] {
  return namesIn(runsFolder(cache))
    .filter((name) => name.endsWith('.json') && !name.startsWith('.'))
    .map((name) => name.slice(0, -'.json'.length))
    .sort()
    .reverse();
}

/** Reads one run; null when its file is not there or not readable. */
export function readRun(cache: string, id: string): RunRecord | null {
  try {
    const run = parseChecked(readFileSync(join(runsFolder(cache), `${id}.json`))) as RunRecord | undefined;
    if (run === undefined) return null;
    return run.status === 'running' && !isAlive(run.owner) ? { ...run, status: 'interrupted' } : run;
  } catch {
    return null;
  }
}

/** All runs, newest first, read as they are asked for. */
export function* listRuns(cache: string): Generator<RunRecord> {
  for (const id of runIds(cache)) {
    const run = readRun(cache, id);
    if (run !== null) yield run;
  }
}

/** The newest run, of one pipeline if its name is given. */
export function latestRun(cache: string, pipeline?: string): RunRecord | null {
  for (const run of listRuns(cache)) if (pipeline === undefined || run.pipeline === pipeline) return run;
  return null;
}

/** The task that had a key, as far as the files of runs know; null when none does. */
export function taskOfKey(cache: string, key: Digest): string | null {
  for (const { tasks } of listRuns(cache)) {
    for (const [id, outcome] of Object.entries(tasks)) if (outcome.key === key) return id;
  }
  return null;
}

/** The keys that the tasks of a pipeline last had, from the newest run that holds each; then from any record of that task. */
export function openHistory(store: Store, pipeline: string): (task: string) => Digest | null {
  const runs = listRuns(store.cache);
  const keys = new Map<string, Digest>();
  let exhausted = false;
  let byTask: Map<string, { key: Digest; startedAt: string }> | null = null;
  return (task) => {
    while (!exhausted && !keys.has(task)) {
      const next = runs.next();
      if (next.done === true) exhausted = true;
      else if (next.value.pipeline === pipeline) {
        for (const [id, { key, outcome }] of Object.entries(next.value.tasks)) {
          const succeeded = outcome === 'executed' || outcome === 'cached' || outcome === 'shared';
          if (succeeded && key !== null && !keys.has(id)) keys.set(id, key);
        }
      }
    }
    const key = keys.get(task);
    if (key !== undefined) return key;
    if (byTask === null) {
      byTask = new Map();
      for (const entry of store.catalog.all()) {
        if (entry.startedAt > (byTask.get(entry.task)?.startedAt ?? '')) byTask.set(entry.task, entry);
      }
    }
    return byTask.get(task)?.key ?? null;
  };
}

/** Where the output of a task lies, as a file to read. */
export interface TaskLog {
  readonly path: string;
  readonly run: string;
  readonly key: Digest | null;
  readonly outcome: TaskOutcome['outcome'];
}

/** What became of a task in a run; a task may be called as what every object has. */
export function outcomeOf({ tasks }: RunRecord, task: string): TaskOutcome | undefined {
  return Object.hasOwn(tasks, task) ? tasks[task] : undefined;
}

/** The log of a task: of its failure or its result in the given run, or in the newest run (of a pipeline) that holds it. */
export function taskLog(store: Store, task: string, where: { run?: string; pipeline?: string } = {}): TaskLog | null {
  for (const run of listRuns(store.cache)) {
    if (where.run !== undefined && run.id !== where.run) continue;
    if (where.pipeline !== undefined && run.pipeline !== where.pipeline) continue;
    const outcome = outcomeOf(run, task);
    if (outcome === undefined || outcome.outcome === 'skipped') continue;
    const record = outcome.key === null ? null : store.readRecord(outcome.key);
    const path = outcome.log !== null ? join(store.cache, outcome.log) : record && store.blobPath(record.log);
    if (path !== null && existsSync(path)) return { path, run: run.id, key: outcome.key, outcome: outcome.outcome };
  }
  if (where.run !== undefined) return null;
  // A run that was killed wrote no outcome, but its finished tasks have records.
  const isOfPipeline = ({ run }: { readonly run: string }) =>
    where.pipeline === undefined || readRun(store.cache, run)?.pipeline === where.pipeline;
  const entries = [...store.catalog.all()].filter((entry) => entry.task === task && isOfPipeline(entry));
  const newest = entries.sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1))[0];
  const record = newest === undefined ? null : store.readRecord(newest.key);
  if (record === null) return null;
  return { path: store.blobPath(record.log), run: record.run, key: record.key, outcome: 'executed' };
}

/** The run file of a run that begins now. */
export function beginRun(
  pipeline: string,
  profile: string | null,
  params: Readonly<Record<string, Json>>,
  targets: readonly string[],
): RunRecord {
  const startedAt = new Date().toISOString();
  const id = newRunId(pipeline);
  return {
    id,
    pipeline,
    profile,
    params,
    targets,
    startedAt,
    finishedAt: null,
    status: 'running',
    owner: self(),
    tasks: {},
  };
}
