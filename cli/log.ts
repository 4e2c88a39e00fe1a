/** `pipe log`: what a task wrote, or writes. */
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { UsageError } from '../engine/errors.ts';
import { listRuns, outcomeOf, taskLog } from '../engine/runs.ts';
import type { Store } from '../engine/store.ts';
import { suggest } from '../engine/suggest.ts';
import type { Workspace } from '../engine/workspace.ts';
import { followTask } from './follow.ts';
import { interruptible } from './interruption.ts';
import { openFile, withWorkspace } from './request.ts';
import { findRun } from './run_names.ts';
import { printJson } from './text.ts';

export interface LogOptions {
  readonly run?: string;
  readonly follow?: true;
  readonly json?: true;
}

/** The run that is meant: by its id, or of a pipeline. */
type Where = { run?: string; pipeline?: string };

/**
 * With `follow`, a task that a run under way executes, or will, is followed to its end.
 * @param file the pipeline whose task is meant; any if not given.
 * @returns 130 when it was interrupted.
 * @throws UsageError when no run holds the task.
 */
export function log(task: string, file: string | undefined, options: LogOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const { store } = workspace;
    const where: Where = {};
    if (options.run !== undefined) where.run = findRun(store.cache, options.run).id;
    if (file !== undefined) where.pipeline = (await openFile(workspace, file, {})).name;
    const underWay = options.follow ? runUnderWay(store, where) : null;
    if (underWay !== null) {
      const interruption = interruptible();
      try {
        if (await followTask(store, underWay, task, interruption.signal)) return 0;
      } catch (thrown) {
        if (interruption.signal.aborted) return 130;
        throw thrown;
      } finally {
        interruption.end();
      }
    }
    const here = taskLog(store, task, where);
    const found = here ?? ((await fetchResult(workspace, task, where)) ? taskLog(store, task, where) : null);
    if (found === null) throw new UsageError(nothingOf(store, task, where));
    if (options.json) printJson({ task, ...found });
    else await pipeline(createReadStream(found.path), process.stdout, { end: false });
    return 0;
  });
}

/** Brings here the result of a task of which a run took only the record from the shared cache. */
async function fetchResult({ store, shared }: Workspace, task: string, where: Where): Promise<boolean> {
  for (const run of listRuns(store.cache)) {
    if ((where.run ?? run.id) !== run.id || (where.pipeline ?? run.pipeline) !== run.pipeline) continue;
    const key = outcomeOf(run, task)?.key ?? null;
    const record = key === null ? null : store.readRecord(key);
    if (record !== null) return (await shared())?.fetch(record) ?? false;
  }
  return false;
}

function runUnderWay({ cache }: Store, { run, pipeline }: Where): string | null {
  for (const { id, status, ...record } of listRuns(cache)) {
    const isMeant = (run ?? id) === id && (pipeline ?? record.pipeline) === record.pipeline;
    if (isMeant && status === 'running') return id;
  }
  return null;
}

function nothingOf({ cache }: Store, task: string, { pipeline }: Where): string {
  const names = new Set<string>();
  for (const run of listRuns(cache)) {
    if (pipeline === undefined || run.pipeline === pipeline) for (const id in run.tasks) names.add(id);
  }
  if (names.has(task))
    return `the log of ${task} is not here\n  its result was taken from a shared cache that does not have it now, or has been collected`;
  const whose = pipeline === undefined ? 'no run' : `no run of ${pipeline}`;
  return `${whose} holds a log of ${task}\n  ${suggest(task, names, 'tasks')}`;
}
