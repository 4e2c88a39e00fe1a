/** Picks tasks of a graph by the names a user gives, with everything upstream of them. */
import { UsageError } from './errors.ts';
import type { Graph, Task } from './graph.ts';
import { nearest } from './suggest.ts';

const producers = new WeakMap<Task, readonly string[]>();

/** The tasks whose artifacts a task takes, each once. */
export function producersOf(task: Task): readonly string[] {
  let found = producers.get(task);
  if (found === undefined) {
    found = findProducers(task);
    producers.set(task, found);
  }
  return found;
}

function findProducers(task: Task): readonly string[] {
  const found = new Set<string>();
  for (const ref of Object.values(task.inputs)) {
    if (ref.kind === 'artifact') found.add(ref.task);
    else if (ref.kind === 'all') for (const member of ref.members) found.add(member.task);
  }
  return [...found];
}

/**
 * The tasks that targets name, and all that those depend on, in the order of the graph.
 * @param targets names of stages, ids of tasks, or either with `*` for any text; none means every task.
 * @throws UsageError for a target that names nothing, with the nearest names.
 */
export function selectTasks(graph: Graph, targets: readonly string[]): readonly Task[] {
  if (targets.length === 0) return graph.tasks;
  const byId = new Map(graph.tasks.map((task) => [task.id, task]));
  const selected = new Set<string>();
  const open: string[] = [];
  for (const target of targets) {
    const named = tasksNamed(graph, target);
    if (named.length === 0) {
      const names = [...new Set(graph.tasks.flatMap((task) => [task.stage, task.id]))];
      const close = nearest(target, names);
      const hint = close !== null ? ` Did you mean ${close}?` : ` Its stages are ${stageNames(graph)}.`;
      throw new UsageError(`pipeline ${graph.name} has no stage or task \`${target}\`.${hint}`);
    }
    for (const task of named) open.push(task.id);
  }
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (selected.has(id)) continue;
    selected.add(id);
    const task = byId.get(id)!;
    open.push(...producersOf(task), ...task.needs);
  }
  return graph.tasks.filter((task) => selected.has(task.id));
}

/** The tasks that one target names, without what they depend on. */
export function tasksNamed(graph: Graph, target: string): Task[] {
  if (!target.includes('*')) return graph.tasks.filter((task) => task.id === target || task.stage === target);
  const pattern = new RegExp(`^${target.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`);
  return graph.tasks.filter((task) => pattern.test(task.id) || pattern.test(task.stage));
}

function stageNames(graph: Graph): string {
  return [...new Set(graph.tasks.map((task) => task.stage))].join(', ');
}
