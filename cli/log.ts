/** `pipe log`: what a task wrote. */
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { UsageError } from '../engine/errors.ts';
import { listRuns, taskLog } from '../engine/runs.ts';
import { suggest } from '../engine/suggest.ts';
import { withWorkspace } from './request.ts';
import { findRun } from './run_names.ts';
import { printJson } from './text.ts';

export interface LogOptions {
  readonly run?: string;
  readonly json?: true;
}

/** @throws UsageError when no run holds the task. */
export function log(task: string, options: LogOptions): Promise<number> {
  return withWorkspace(async ({ store }) => {
    const where = options.run === undefined ? {} : { run: findRun(store.cache, options.run).id };
    const found = taskLog(store, task, where);
    if (found === null) {
      const names = new Set<string>();
      for (const run of listRuns(store.cache)) for (const id in run.tasks) names.add(id);
      throw new UsageError(`no run holds a log of ${task}\n  ${suggest(task, names, 'tasks')}`);
    }
    if (options.json) printJson({ task, ...found });
    else await pipeline(createReadStream(found.path), process.stdout, { end: false });
    return 0;
  });
}
