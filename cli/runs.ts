/** `pipe runs`: the runs that there were, newest first: how each ended, and what it was asked for that the one before was not. */
import { canonicalJson } from '../engine/manifest.ts';
import { listRuns, type RunRecord, type TaskOutcome } from '../engine/runs.ts';
import { openFile, withWorkspace } from './request.ts';
import { duration, paint, print, printJson, tally } from './text.ts';

export interface RunsOptions {
  readonly last: number;
  readonly json?: true;
}

/** @param file the pipeline whose runs are meant; those of all if not given. */
export function runs(file: string | undefined, { last, json }: RunsOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const pipeline = file === undefined ? null : (await openFile(workspace, file, {})).name;
    const found: RunRecord[] = [];
    for (const run of listRuns(workspace.store.cache)) {
      if (pipeline !== null && run.pipeline !== pipeline) continue;
      // One more than are shown, so that the oldest shown has one to be compared with.
      if (found.push(run) > last) break;
    }
    const shown = found.slice(0, last);
    if (json) printJson(shown.map(({ tasks, owner: _, ...run }) => ({ ...run, counts: countsOf(tasks) })));
    else if (shown.length === 0) print('there are no runs yet: begin with `pipe run`');
    else for (const [at, run] of shown.entries()) printRun(run, found.slice(at + 1));
    return 0;
  });
}

function countsOf(tasks: RunRecord['tasks']): Record<TaskOutcome['outcome'], number> {
  const counts = { executed: 0, shared: 0, cached: 0, failed: 0, skipped: 0 };
  for (const { outcome } of Object.values(tasks)) counts[outcome] += 1;
  return counts;
}

/** @param older the runs before it, newest first. */
function printRun(run: RunRecord, older: readonly RunRecord[]): void {
  const { id, status, startedAt, finishedAt, tasks, profile, targets, params } = run;
  const seconds = finishedAt === null ? null : (Date.parse(finishedAt) - Date.parse(startedAt)) / 1000;
  const { executed, shared, cached, failed, skipped } = countsOf(tasks);
  const counts = tally([
    [executed, 'run'],
    [shared, 'shared'],
    [cached, 'up to date'],
    [failed, 'failed'],
    [skipped, 'not run'],
  ]);
  const style = status === 'done' ? 'green' : status === 'running' ? 'cyan' : 'red';
  const took = seconds === null ? '' : ` in ${duration(seconds)}`;
  print(`${paint('bold', id)}  ${paint(style, status)}${took}${counts === '' ? '' : `: ${counts}`}`);
  if (profile !== null) print(`    profile ${profile}`);
  if (targets.length > 0) print(`    only ${targets.join(', ')}`);
  const before = older.find(({ pipeline }) => pipeline === run.pipeline);
  if (before === undefined) return;
  for (const name of new Set([...Object.keys(before.params), ...Object.keys(params)])) {
    const [old, now] = [before, run].map((one) => canonicalJson(one.params[name] ?? null));
    if (old !== now) print(`    param ${name}: ${old} -> ${now}`);
  }
}
