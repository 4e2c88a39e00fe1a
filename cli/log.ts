/** `pipe log`: what a task wrote. */
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { UsageError } from '../engine/errors.ts';
import { listRuns, taskLog } from '../engine/runs.ts';
import { suggest } from '../engine/suggest.ts';
import { openFile, withWorkspace } from './request.ts';
import { findRun } from './run_names.ts';
import { printJson } from './text.ts';

export interface LogOptions {
  readonly run?: string;
  readonly json?: true;
}

/** @param file the pipeline whose task is meant; any if not given. @throws UsageError when no run holds the task. */
export function log(task: string, file: string | undefined, options: LogOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const { store } = workspace;
    const where: { run?: string; pipeline?: string } = {};
    if (options.run !== undefined) where.run = findRun(store.cache, options.run).id;
    if (file !== undefined) where.pipeline = (await openFile(workspace, file, {})).name;
    const found = taskLog(store, task, where);
    if (found === null) {
      const names = new Set<string>();
      for (const run of listRuns(store.cache)) {
        if (where.pipeline === undefined || run.pipeline === where.pipeline) for (const id in run.tasks) names.add(id);
      }
      const whose = where.pipeline === undefined ? 'no run' : `no run of ${where.pipeline}`;
      throw new UsageError(`${whose} holds a log of ${task}\n  ${suggest(task, names, 'tasks')}`);
    }
    if (options.json) printJson({ task, ...found });
    else await pipeline(createReadStream(found.path), process.stdout, { end: false });
    return 0;
  });
}
