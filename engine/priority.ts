/** The critical path: how much work hangs on a task. */
import type { Entry } from './catalog.ts';
import type { Task } from './graph.ts';
import { producersOf } from './select.ts';

/**
 * For every task, the seconds of the longest chain of tasks that begins with it. A task takes as long as it last did,
 * or as the others of its stage did on average, or one second.
 * @param tasks in topological order.
 */
export function criticalPath(tasks: readonly Task[], entries: Iterable<Entry>): ReadonlyMap<string, number> {
  const last = new Map<string, Entry>();
  for (const entry of entries) {
    if (entry.startedAt > (last.get(entry.task)?.startedAt ?? '')) last.set(entry.task, entry);
  }
  const byStage = new Map<string, { sum: number; count: number }>();
  for (const { id, stage } of tasks) {
    const seconds = last.get(id)?.seconds;
    if (seconds === undefined) continue;
    const total = byStage.get(stage) ?? { sum: 0, count: 0 };
    byStage.set(stage, { sum: total.sum + seconds, count: total.count + 1 });
  }
  const own = ({ id, stage }: Task) => {
    const total = byStage.get(stage);
    return last.get(id)?.seconds ?? (total === undefined ? 1 : total.sum / total.count);
  };
  const below = new Map<string, number>();
  const lengths = new Map<string, number>();
  for (const task of [...tasks].reverse()) {
    const length = own(task) + (below.get(task.id) ?? 0);
    lengths.set(task.id, length);
    for (const id of [...producersOf(task), ...task.needs]) below.set(id, Math.max(below.get(id) ?? 0, length));
  }
  return lengths;
}
