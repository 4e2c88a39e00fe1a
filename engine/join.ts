/** Finds the tasks of a producer that a consumer's task is joined to: those with the same value on every axis that both have. */
import type { Combination } from './matrix.ts';
import type { Json } from './stage.ts';

/** A task as far as joining goes. */
export interface Joinable {
  readonly axes: Combination;
}

/** Tells values apart as text, whatever the order of their keys. */
function canonical(value: Json): string {
  if (typeof value === 'number') return `${value}`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key]!)}`).join()}}`;
}

/** Tasks of a producer that have the same axes. */
interface Group<T> {
  readonly axes: readonly string[];
  readonly tasks: T[];
  /** For a set of axes: the tasks by their values on them. */
  readonly indexes: Map<string, ReadonlyMap<string, readonly T[]>>;
}

/** A producer's tasks, found by axis values in constant time. Tasks need not have the same axes. */
export class JoinIndex<T extends Joinable> {
  readonly #tasks: readonly T[];
  readonly #groups: readonly Group<T>[];

  constructor(tasks: readonly T[]) {
    this.#tasks = tasks;
    const groups = new Map<string, Group<T>>();
    for (const task of tasks) {
      let signature = '';
      for (const axis in task.axes) signature += `${axis}\0`;
      let group = groups.get(signature);
      if (group === undefined) {
        group = { axes: Object.keys(task.axes), tasks: [], indexes: new Map() };
        groups.set(signature, group);
      }
      group.tasks.push(task);
    }
    this.#groups = [...groups.values()];
  }

  /** @returns the producer's tasks that agree with `axes` on every axis that both have, in their own order. */
  matching(axes: Combination): readonly T[] {
    if (this.#groups.length === 1) return matchingIn(this.#groups[0]!, axes);
    const found = new Set(this.#groups.flatMap((group) => matchingIn(group, axes)));
    return this.#tasks.filter((task) => found.has(task));
  }
}

function matchingIn<T extends Joinable>(group: Group<T>, axes: Combination): readonly T[] {
  const shared = group.axes.filter((axis) => Object.hasOwn(axes, axis));
  return shared.length === 0 ? group.tasks : (indexOn(group, shared).get(keyOf(axes, shared)) ?? []);
}

function indexOn<T extends Joinable>(group: Group<T>, shared: readonly string[]): ReadonlyMap<string, readonly T[]> {
  const name = shared.join('\0');
  const known = group.indexes.get(name);
  if (known !== undefined) return known;
  const index = new Map<string, T[]>();
  for (const task of group.tasks) {
    const key = keyOf(task.axes, shared);
    const tasks = index.get(key);
    if (tasks === undefined) index.set(key, [task]);
    else tasks.push(task);
  }
  group.indexes.set(name, index);
  return index;
}

function keyOf(axes: Combination, names: readonly string[]): string {
  let key = '';
  for (const name of names) key += `${canonical(axes[name]!)}\0`;
  return key;
}
