/** `pipe status`: what a run would do. */
import { makePlan, type RunPlan } from '../engine/plan.ts';
import { type Group, groupName, groupsOf } from './reasons.ts';
import { openForLook, type RequestOptions, withWorkspace } from './request.ts';
import { count, paint, print, printJson } from './text.ts';

export interface StatusOptions extends RequestOptions {
  readonly check?: true;
  readonly json?: true;
}

/** @returns 0; with `--check`, 1 if anything is not up to date. */
export function status(args: readonly string[], options: StatusOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const { graph, targets } = await openForLook(workspace, args, options);
    const plan = await makePlan(workspace, graph, { targets });
    if (options.json) printJson(planJson(plan));
    else printPlan(plan);
    return options.check && plan.counts.fresh < plan.tasks.length ? 1 : 0;
  });
}

/** Prints what must run and why; one line when nothing must. */
export function printPlan({ graph, tasks, counts }: RunPlan): void {
  const profile = graph.profile === null ? '' : ` (profile ${graph.profile})`;
  const name = `${graph.name}${profile}`;
  if (counts.fresh === tasks.length) {
    print(`${name}: up to date (${count(tasks.length, 'task')})`);
    return;
  }
  const must = counts.stale + counts.broken;
  const pending = counts.pending === 0 ? '' : `, ${counts.pending} may have to`;
  print(
    `${paint('bold', name)}: ${counts.fresh} of ${count(tasks.length, 'task')} up to date, ${must} must run${pending}`,
  );
  for (const group of groupsOf(tasks)) printGroup(group);
}

/** The most differences that are listed for a group before the rest is only counted. */
const SHOWN = 6;

function printGroup(group: Group): void {
  const style = group.state === 'broken' ? 'red' : group.state === 'stale' ? 'yellow' : 'dim';
  const [first, ...rest] = group.lines;
  if (rest.length === 0) {
    print(`  ${paint(style, groupName(group))}: ${first}`);
    return;
  }
  print(`  ${paint(style, groupName(group))}:`);
  for (const line of group.lines.slice(0, SHOWN)) print(`    ${line}`);
  if (group.lines.length > SHOWN) print(`    and ${group.lines.length - SHOWN} more: pipe why ${group.stage}`);
}

/** A plan as plain data. */
export function planJson({ graph, tasks, counts }: RunPlan): object {
  return {
    pipeline: graph.name,
    profile: graph.profile,
    counts,
    tasks: tasks.map((planned) => {
      const { id, stage, axes } = planned.task;
      const key = 'key' in planned ? planned.key : null;
      const reason = 'reason' in planned ? planned.reason : null;
      const message = planned.state === 'broken' ? planned.message : null;
      return { task: id, stage, axes, state: planned.state, key, reason, message };
    }),
  };
}
