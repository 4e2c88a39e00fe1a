/** Typed access to the fields of a JSON file that another stage wrote, with errors that say what is wrong in which file. */
import { StageError } from '../../engine/stage.ts';
import { FormatError } from '../../model/format_error.ts';
import { readJson } from '../../model/json.ts';

/** The fields of one object, each read as what it must be. */
export interface Fields {
  has(name: string): boolean;
  number(name: string): number;
  optional(name: string): number | null;
  numbers(name: string): readonly number[];
  text(name: string): string;
  texts(name: string): readonly string[];
  flag(name: string): boolean;
  /** An object of numbers. */
  map(name: string): Readonly<Record<string, number>>;
  inside(name: string): Fields;
}

/** @throws StageError when the file is not a JSON object; its accessors throw one for a field that is not of the kind asked for. */
export function readFields(path: string, what: string): Fields {
  return fieldsOf(
    reading(what, () => readJson(path)),
    what,
  );
}

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new StageError(`${what}: expected an object, found ${show(value)}.`);
  }
  const object = value as Readonly<Record<string, unknown>>;
  const has = (name: string) => object[name] !== undefined && object[name] !== null;
  const number = (name: string): number => {
    const found = object[name];
    if (typeof found === 'number' && Number.isFinite(found)) return found;
    throw new StageError(`${what}: "${name}" is ${show(found)}, not a finite number.`);
  };
  return {
    has,
    number,
    optional: (name) => (has(name) ? number(name) : null),
    numbers(name) {
      const found = object[name];
      const wrong = Array.isArray(found) ? found.findIndex((x) => typeof x !== 'number' || !Number.isFinite(x)) : -1;
      if (!Array.isArray(found)) throw new StageError(`${what}: "${name}" is ${show(found)}, not a list of numbers.`);
      if (wrong >= 0)
        throw new StageError(`${what}: "${name}"[${wrong}] is ${show(found[wrong])}, not a finite number.`);
      return found as number[];
    },
    text(name) {
      const found = object[name];
      if (typeof found === 'string') return found;
      throw new StageError(`${what}: "${name}" is ${show(found)}, not a text.`);
    },
    texts(name) {
      const found = object[name];
      if (Array.isArray(found) && found.every((one) => typeof one === 'string')) return found;
      throw new StageError(`${what}: "${name}" is ${show(found)}, not a list of texts.`);
    },
    flag(name) {
      const found = object[name];
      if (typeof found === 'boolean') return found;
      throw new StageError(`${what}: "${name}" is ${show(found)}, neither true nor false.`);
    },
    map(name) {
      const inner = fieldsOf(object[name], `${what}: "${name}"`);
      return Object.fromEntries(Object.keys(object[name] as object).map((key) => [key, inner.number(key)]));
    },
    inside: (name) => fieldsOf(object[name], `${what}: "${name}"`),
  };
}

/** Runs a reader of model/. @throws StageError that says what cannot be read, where it throws a FormatError. */
export function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof FormatError) throw new StageError(`${what} cannot be read: ${error.message}`);
    throw error;
  }
}

/** A value as an error shows it, cut to 40 characters. */
export function show(value: unknown): string {
  if (value === undefined) return 'missing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 40 ? `${text.slice(0, 37)}...` : text;
}
