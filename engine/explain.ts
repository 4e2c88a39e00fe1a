/** `pipe why`: one task, whether it is fresh, and what is different from the last time it ran. */
import { taskById } from './assess.ts';
import type { Graph } from './graph.ts';
import { makePlan, type PlannedTask } from './plan.ts';
import type { TaskRecord } from './record.ts';
import { openHistory } from './runs.ts';
import type { Workspace } from './workspace.ts';

/** @throws UsageError when the graph has no such task. */
export async function explain(
  workspace: Workspace,
  graph: Graph,
  id: string,
): Promise<{ readonly planned: PlannedTask; readonly last: TaskRecord | null }> {
  taskById(graph, id);
  const plan = await makePlan(workspace, graph, { targets: [id] });
  const planned = plan.tasks.find(({ task }) => task.id === id)!;
  const key = openHistory(workspace.store, graph.name)(id);
  return { planned, last: key === null ? null : workspace.store.readRecord(key) };
}
