/** Planned tasks in words: stale tasks of a stage that have the same reason are said once. */
import type { PlannedTask } from '../engine/plan.ts';
import { reasonLines } from '../engine/why.ts';

/** Tasks that must run for the same reason. */
export interface Group {
  readonly stage: string;
  readonly state: Exclude<PlannedTask['state'], 'fresh'>;
  readonly tasks: readonly string[];
  /** Why, one line for each difference. */
  readonly lines: readonly string[];
}

/**
 * @param plan all tasks of the plan that the tasks are of, so that what they wait for is called by its stage
 * @returns the tasks that are not fresh, grouped by stage and reason, in the order of the plan
 */
export function groupsOf(tasks: readonly PlannedTask[], plan: readonly PlannedTask[] = tasks): readonly Group[] {
  const stageOf = new Map(plan.map(({ task }) => [task.id, task.stage]));
  const groups = new Map<string, { stage: string; state: Group['state']; tasks: string[]; lines: readonly string[] }>();
  for (const planned of tasks) {
    if (planned.state === 'fresh') continue;
    const { id, stage } = planned.task;
    const lines = linesOf(planned, stageOf);
    const key = [stage, planned.state, ...lines].join('\0');
    const group = groups.get(key) ?? { stage, state: planned.state, tasks: [], lines };
    group.tasks.push(id);
    groups.set(key, group);
  }
  return [...groups.values()];
}

function linesOf(
  planned: Exclude<PlannedTask, { state: 'fresh' }>,
  stageOf: ReadonlyMap<string, string>,
): readonly string[] {
  if (planned.state === 'broken') return [`cannot run: ${planned.message}`];
  if (planned.state === 'stale') return reasonLines(planned.reason);
  const stages = new Set(planned.waitsFor.map((id) => stageOf.get(id)!));
  return [`waits for ${[...stages].join(', ')}`];
}

/** @returns what a group is called: the task, or the stage with the number of its tasks. */
export function groupName({ stage, tasks }: Group): string {
  return tasks.length === 1 ? tasks[0]! : `${stage} (${tasks.length} tasks)`;
}
