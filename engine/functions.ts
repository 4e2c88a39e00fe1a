/** The functions that expressions may call. */
import type { Json } from './stage.ts';

/** A function: how it is written, and what it gives; it throws an Error whose message says which argument is wrong. */
export interface ExpressionFunction {
  readonly signature: string;
  readonly minimum: number;
  readonly maximum: number;
  readonly apply: (args: readonly Json[]) => Json;
}

/** @returns what a value is called in messages. */
export function typeName(value: Json): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  return typeof value === 'boolean' ? 'true or false' : `a ${typeof value}`;
}

/** @returns whether two values are equal, whatever the order of their keys. Nothing is converted: 1 is not '1'. */
export function isEqual(a: Json, b: Json): boolean {
  if (a === b) return true;
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => isEqual(item, b[i]!));
  const left = Object.entries(a);
  const right = b as { [key: string]: Json };
  return (
    left.length === Object.keys(right).length &&
    left.every(([key, value]) => Object.hasOwn(right, key) && isEqual(value, right[key]!))
  );
}

/** @returns a value as text inside a longer string. @throws Error for a list or a map, whose form the writer must choose. */
export function toText(value: Json): string {
  if (value === null) return '';
  if (typeof value === 'object') {
    throw new Error(
      `${typeName(value)} cannot stand inside a string; use ${Array.isArray(value) ? "join(x, ',') or " : ''}toJSON(x)`,
    );
  }
  return String(value);
}

function string(value: Json, what: string): string {
  if (typeof value !== 'string') throw new Error(`${what} must be a string, not ${typeName(value)}`);
  return value;
}

function list(value: Json, what: string): readonly Json[] {
  if (!Array.isArray(value)) throw new Error(`${what} must be a list, not ${typeName(value)}`);
  return value;
}

/** Every function by its name. */
export const FUNCTIONS: Readonly<Record<string, ExpressionFunction>> = {
  join: {
    signature: "join(list, separator = ',')",
    minimum: 1,
    maximum: 2,
    apply: ([items, separator = ',']) =>
      list(items!, 'the first argument').map(toText).join(string(separator, 'the separator')),
  },
  format: {
    signature: "format('{0} of {1}', a, b)",
    minimum: 1,
    maximum: Number.POSITIVE_INFINITY,
    apply: ([pattern, ...values]) =>
      string(pattern!, 'the pattern').replace(/\{\{|\}\}|\{(\d+)\}/g, (match, index: string | undefined) => {
        if (index === undefined) return match[0]!;
        const value = values[Number(index)];
        if (value === undefined) throw new Error(`the pattern names {${index}}, but ${values.length} values are given`);
        return toText(value);
      }),
  },
  contains: {
    signature: 'contains(list or string, item)',
    minimum: 2,
    maximum: 2,
    apply: ([where, item]) =>
      typeof where === 'string'
        ? where.includes(string(item!, 'the second argument'))
        : list(where!, 'the first argument').some((member) => isEqual(member, item!)),
  },
  startsWith: {
    signature: 'startsWith(string, prefix)',
    minimum: 2,
    maximum: 2,
    apply: ([text, prefix]) => string(text!, 'the first argument').startsWith(string(prefix!, 'the prefix')),
  },
  endsWith: {
    signature: 'endsWith(string, suffix)',
    minimum: 2,
    maximum: 2,
    apply: ([text, suffix]) => string(text!, 'the first argument').endsWith(string(suffix!, 'the suffix')),
  },
  length: {
    signature: 'length(list, map or string)',
    minimum: 1,
    maximum: 1,
    apply: ([value]) => {
      if (typeof value === 'string') return value.length;
      if (value === null || typeof value !== 'object') throw new Error(`${typeName(value!)} has no length`);
      return Array.isArray(value) ? value.length : Object.keys(value).length;
    },
  },
  toJSON: {
    signature: 'toJSON(value)',
    minimum: 1,
    maximum: 1,
    apply: ([value]) => JSON.stringify(value),
  },
};
