/** Expands a matrix to its combinations, with the meaning that `include` and `exclude` have in GitHub Actions. */
import { isEqual } from './functions.ts';
import type { Json } from './stage.ts';

/** A value for each axis. Keys are in the order in which the axes were declared; those that `include` adds come last. */
export type Combination = Readonly<Record<string, Json>>;

export interface Matrix {
  readonly axes: ReadonlyMap<string, readonly Json[]>;
  readonly include: readonly Combination[];
  readonly exclude: readonly Combination[];
}

/**
 * Expands a matrix. The product of the axes comes first, the last axis varying fastest. An `exclude` entry removes every
 * combination that agrees with it on all of its keys. Then each `include` entry, in turn, is added to every combination of which
 * it would change no value of an axis (a value that an earlier entry added may be changed), or, where there is none, becomes a
 * combination of its own, which later entries leave alone.
 * @returns the combinations; a single empty one for a matrix that says nothing
 */
export function expandMatrix({ axes, include, exclude }: Matrix): readonly Combination[] {
  if (axes.size === 0 && include.length === 0) return [{}];
  const product = axes.size === 0 ? [] : productOf([...axes]);
  const kept =
    exclude.length === 0
      ? product
      : product.filter((combination) => !exclude.some((entry) => agrees(entry, combination)));
  if (include.length === 0) return kept;
  const extended: Record<string, Json>[] = kept.map((combination) => ({ ...combination }));
  const added: Combination[] = [];
  for (const entry of include) {
    const original = Object.entries(entry).filter(([key]) => axes.has(key));
    const fitting = extended.filter((combination) =>
      original.every(([key, value]) => isEqual(value, combination[key]!)),
    );
    for (const combination of fitting) Object.assign(combination, entry);
    if (fitting.length === 0) added.push({ ...entry });
  }
  return [...extended, ...added];
}

/** @returns how many combinations the product of the axes has. */
export function productSize(axes: Matrix['axes']): number {
  return [...axes.values()].reduce((size, values) => size * values.length, 1);
}

function productOf(axes: readonly (readonly [string, readonly Json[]])[]): Combination[] {
  let combinations: Record<string, Json>[] = [{}];
  for (const [axis, values] of axes) {
    combinations = combinations.flatMap((combination) => values.map((value) => ({ ...combination, [axis]: value })));
  }
  return combinations;
}

function agrees(entry: Combination, combination: Combination): boolean {
  return Object.entries(entry).every(
    ([key, value]) => Object.hasOwn(combination, key) && isEqual(value, combination[key]!),
  );
}

/** @returns a task's id: the stage's name, and its axis values in brackets if it has any. */
export function taskId(stage: string, axes: Combination): string {
  const parts: string[] = [];
  for (const axis in axes) parts.push(`${axis}=${compact(axes[axis]!)}`);
  return parts.length === 0 ? stage : `${stage}[${parts.join(',')}]`;
}

const PLAIN = /^[A-Za-z0-9_.+:/@-]+$/;

/** A value in an id: a list as `q+v`, a map by its `name` if it has one, otherwise as `rank:8;bits:4`. */
function compact(value: Json): string {
  if (typeof value === 'string') return PLAIN.test(value) ? value : JSON.stringify(value);
  if (value === null || typeof value !== 'object') return String(value);
  if (Array.isArray(value)) return value.length === 0 ? '[]' : value.map(compact).join('+');
  const { name } = value;
  if (typeof name === 'string') return compact(name);
  return Object.entries(value)
    .map(([key, item]) => `${key}:${compact(item)}`)
    .join(';');
}
