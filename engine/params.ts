/** Gives the pipeline's params their values: the file's, a profile's, the command line's. */
import { isScalar, parseDocument } from 'yaml';
import { type DiagnosticList, type Span, sourceText } from './diagnostics.ts';
import type { Pipeline } from './include.ts';
import type { Entry } from './parse.ts';
import { parseYaml, toJson } from './source.ts';
import type { Json } from './stage.ts';
import { suggest } from './suggest.ts';
import { evaluateOrReport } from './template.ts';

/** A value given on the command line: `NAME=VALUE`, where the value is YAML or JSON. */
export interface Assignment {
  readonly path: readonly string[];
  readonly value: Json;
  readonly span: Span;
}

/**
 * Reads `NAME=VALUE` of an option such as `--param`. The value is read as YAML, so numbers, lists and maps keep their types; what
 * is no list, map, quoted string, number, true, false or null is taken as text, whatever characters it holds.
 * @returns null when it was reported
 */
export function parseAssignment(option: string, text: string, diagnostics: DiagnosticList): Assignment | null {
  const source = sourceText('option', option, text);
  const equals = text.indexOf('=');
  if (equals < 1) {
    diagnostics.report(
      { source, start: 0, end: Math.max(1, text.length) },
      'needs NAME=VALUE',
      `for example: ${option} steps=20`,
    );
    return null;
  }
  const path = text.slice(0, equals).split('.');
  if (path.includes('__proto__')) {
    diagnostics.report({ source, start: 0, end: equals }, 'the name "__proto__" is not allowed', 'choose another name');
    return null;
  }
  const raw = text.slice(equals + 1);
  const span = { source, start: 0, end: equals };
  if (/^\s*[[{"']/.test(raw)) {
    // Blanks instead of the name keep the columns of what the parser reports.
    const node = parseYaml(source, diagnostics, ' '.repeat(equals + 1) + raw);
    return node === null ? null : { path, value: toJson(node), span };
  }
  const { contents, errors } = parseDocument(raw);
  // Only what is a plain scalar is given a value: an alias or a block of YAML on a command line is text.
  const value: unknown = errors.length === 0 && isScalar(contents) ? contents.value : contents === null ? null : raw;
  const plain = value === null || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value));
  return { path, value: plain ? (value as Json) : raw, span };
}

/**
 * Evaluates the params. A profile's values replace the file's, an assignment replaces both; an assignment to `a.b` replaces one
 * value inside a map. Values may use other params.
 * @throws PipelineError when a param has no value, a profile or a name is unknown: nothing that uses params can be checked then
 */
export function resolveParams(
  pipeline: Pipeline,
  profile: string | null,
  assignments: readonly Assignment[],
  diagnostics: DiagnosticList,
): Readonly<Record<string, Json>> {
  if (!pipeline.paramsReadable) diagnostics.throwIfAny();
  const before = diagnostics.count;
  const entries = new Map(pipeline.params);
  for (const values of pipeline.profiles.values()) {
    for (const [name, { key }] of values) {
      if (!pipeline.params.has(name)) reportUnknown(name, key, pipeline, diagnostics);
    }
  }
  if (profile !== null) {
    const values = pipeline.profiles.get(profile);
    if (values === undefined) {
      const source = sourceText('option', '--profile', profile);
      const hint = suggest(profile, pipeline.profiles.keys(), 'profiles');
      diagnostics.report({ source, start: 0, end: profile.length }, `unknown profile "${profile}"`, hint);
    }
    for (const [name, entry] of values ?? []) entries.set(name, entry);
  }
  const whole = new Map<string, Json>();
  for (const { path, value, span } of assignments) {
    if (!pipeline.params.has(path[0]!)) reportUnknown(path[0]!, span, pipeline, diagnostics);
    else if (path.length === 1) whole.set(path[0]!, value);
  }
  const values = new ParamEvaluator(entries, whole, diagnostics).all();
  for (const assignment of assignments) if (assignment.path.length > 1) assignInside(values, assignment, diagnostics);
  if (diagnostics.count > before) diagnostics.throwIfAny();
  return values;
}

function reportUnknown(name: string, span: Span, pipeline: Pipeline, diagnostics: DiagnosticList): void {
  diagnostics.report(span, `unknown param "${name}"`, suggest(name, pipeline.params.keys(), 'params'));
}

/** Replaces one value inside a map. Maps on the way are copied: they may be shared. */
function assignInside(
  values: Record<string, Json>,
  { path, value, span }: Assignment,
  diagnostics: DiagnosticList,
): void {
  let target = values;
  for (const [depth, name] of path.entries()) {
    if (!Object.hasOwn(target, name)) {
      if (depth === 0) return; // reported as an unknown param
      diagnostics.report(
        span,
        `"${path.slice(0, depth).join('.')}" has no "${name}"`,
        suggest(name, Object.keys(target), 'names'),
      );
      return;
    }
    if (depth === path.length - 1) {
      target[name] = value;
      return;
    }
    const next = target[name]!;
    if (next === null || typeof next !== 'object' || Array.isArray(next)) {
      diagnostics.report(
        span,
        `"${path.slice(0, depth + 1).join('.')}" is not a map`,
        'assign to the param as a whole',
      );
      return;
    }
    const copy = { ...next };
    target[name] = copy;
    target = copy;
  }
}

/** Thrown through an evaluation whose value depends on a param that has none; the reason has been reported. */
class NoValue extends Error {}

/** Evaluates params on demand, each once, so that they may use each other in any order. */
class ParamEvaluator {
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #values: Map<string, Json>;
  readonly #diagnostics: DiagnosticList;
  readonly #open: string[] = [];
  readonly #failed = new Set<string>();
  readonly #scope: { params: Record<string, Json> };

  constructor(entries: ReadonlyMap<string, Entry>, assigned: ReadonlyMap<string, Json>, diagnostics: DiagnosticList) {
    this.#entries = entries;
    this.#values = new Map(assigned);
    this.#diagnostics = diagnostics;
    const params: Record<string, Json> = {};
    for (const name of entries.keys()) {
      Object.defineProperty(params, name, { enumerable: true, get: () => this.#value(name) });
    }
    this.#scope = { params };
  }

  /** @returns every param that has a value, in the order of declaration; findings say why one has none */
  all(): Record<string, Json> {
    const result: Record<string, Json> = {};
    for (const name of this.#entries.keys()) {
      try {
        result[name] = this.#value(name);
      } catch (error) {
        if (!(error instanceof NoValue)) throw error;
      }
    }
    return result;
  }

  #value(name: string): Json {
    const known = this.#values.get(name);
    if (known !== undefined) return known;
    if (this.#failed.has(name)) throw new NoValue();
    const { key, value } = this.#entries.get(name)!;
    if (this.#open.includes(name)) {
      const path = [...this.#open.slice(this.#open.indexOf(name)), name];
      this.#diagnostics.report(key, `the param depends on itself: ${path.join(' -> ')}`);
      throw new NoValue();
    }
    this.#open.push(name);
    try {
      const result = evaluateOrReport(value, this.#scope, this.#diagnostics);
      if (result === undefined) throw new NoValue();
      this.#values.set(name, result);
      return result;
    } catch (error) {
      this.#failed.add(name);
      throw error;
    } finally {
      this.#open.pop();
    }
  }
}
