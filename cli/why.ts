/** `pipe why`: the difference between what a task depends on now and when it last ran. */
import { UsageError } from '../engine/errors.ts';
import { makePlan, type PlannedTask } from '../engine/plan.ts';
import { tasksNamed } from '../engine/select.ts';
import { suggest } from '../engine/suggest.ts';
import { groupName, groupsOf } from './reasons.ts';
import { openFile, type RequestOptions, withWorkspace } from './request.ts';
import { planJson } from './status.ts';
import { count, duration, paint, print, printJson } from './text.ts';

export interface WhyOptions extends RequestOptions {
  readonly json?: true;
}

/** @param target a task's id, a stage, or either with `*`. @throws UsageError when it names nothing. */
export function why(target: string, file: string | undefined, options: WhyOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const graph = await openFile(workspace, file, options);
    const named = new Set(tasksNamed(graph, target).map(({ id }) => id));
    if (named.size === 0) {
      const names = new Set(graph.tasks.flatMap(({ stage, id }) => [stage, id]));
      throw new UsageError(
        `pipeline ${graph.name} has no stage or task ${target}\n  ${suggest(target, names, 'stages and tasks')}`,
      );
    }
    const plan = await makePlan(workspace, graph, { targets: [target] });
    const tasks = plan.tasks.filter(({ task }) => named.has(task.id));
    if (options.json) {
      printJson(planJson({ ...plan, tasks }));
      return 0;
    }
    printFresh(tasks);
    for (const group of groupsOf(tasks, plan.tasks)) {
      print(`${paint('bold', groupName(group))} ${VERBS[group.state]}`);
      for (const line of group.lines) print(`  ${line}`);
    }
    // What is waited for is stale for a reason of its own, which is the one that was asked for.
    const upstream = new Set(
      tasks.flatMap((planned) => (planned.state === 'pending' ? causesOf(planned, plan.tasks) : [])),
    );
    for (const group of groupsOf(
      plan.tasks.filter(({ task }) => upstream.has(task.id)),
      plan.tasks,
    )) {
      print(`because ${paint('bold', groupName(group))} ${VERBS[group.state]}`);
      for (const line of group.lines) print(`  ${line}`);
    }
    return 0;
  });
}

const VERBS = { pending: 'may have to run', broken: 'cannot run', stale: 'must run' } as const;

function printFresh(tasks: readonly PlannedTask[]): void {
  const fresh = tasks.filter((planned) => planned.state === 'fresh');
  const [only] = fresh;
  if (only === undefined) return;
  if (fresh.length > 1) {
    print(`${count(fresh.length, 'task')} of ${only.task.stage} are up to date`);
    return;
  }
  const { startedAt, seconds, run } = only.entry;
  print(`${only.task.id} is up to date`);
  print(`  it ran ${startedAt} in ${duration(seconds)}, in run ${run}`);
  print(`  key ${only.key}`);
}

/** @returns the stale or broken tasks that a pending one waits for, directly or through others. */
function causesOf(pending: PlannedTask, tasks: readonly PlannedTask[]): readonly string[] {
  const byId = new Map(tasks.map((planned) => [planned.task.id, planned]));
  const causes = new Set<string>();
  const seen = new Set<string>();
  const open = [pending.task.id];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (seen.has(id)) continue;
    seen.add(id);
    const planned = byId.get(id);
    if (planned?.state === 'pending') open.push(...planned.waitsFor);
    else if (planned !== undefined) causes.add(id);
  }
  return [...causes];
}
