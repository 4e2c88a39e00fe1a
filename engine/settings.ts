/** Evaluates what a stage's entry says of each of its tasks: command, parameters, environment, limits. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Device } from './devices.ts';
import { type DiagnosticList, locate, type Span } from './diagnostics.ts';
import type { Scope } from './evaluate.ts';
import { toText, typeName } from './functions.ts';
import type { Task } from './graph.ts';
import type { ExpandedStage, Instance } from './instances.ts';
import type { Assignment } from './params.ts';
import type { Entry, StageDeclaration } from './parse.ts';
import { normalPath, overlapOf, pathProblem } from './paths.ts';
import { parseBytes, parseDuration } from './quantity.ts';
import type { SchemaChecker } from './schema.ts';
import { nodeAt } from './source.ts';
import type { Json } from './stage.ts';
import { evaluateOrReport, type Template } from './template.ts';

/** What `settings.ts` finds out about a task. */
export type Settings = Omit<Task, 'id' | 'stage' | 'axes' | 'inputs' | 'needs'>;

/** What is the same for every stage of a pipeline. */
export interface SettingsContext {
  readonly root: string;
  readonly params: Readonly<Record<string, Json>>;
  /** What accelerated stages compute on. */
  readonly device: Device;
  /** `--set` values by stage. */
  readonly sets: ReadonlyMap<string, readonly Assignment[]>;
  readonly checker: SchemaChecker;
  readonly diagnostics: DiagnosticList;
}

/** A function from a task's scope to a value; undefined when there is none, which was reported. */
type Getter<T> = (scope: Scope) => T | undefined;

/**
 * Prepares a stage's settings. What does not depend on the matrix is evaluated once and shared by all tasks.
 * @returns the settings of one instance, or null when something in them is wrong, which was reported
 */
export function stageSettings(stage: ExpandedStage, context: SettingsContext): (instance: Instance) => Settings | null {
  const { declaration, module } = stage;
  const location = locate(declaration.key);
  const action = actionOf(stage, context);
  const given = givenParams(stage, context);
  const env = textMap(declaration.env, context);
  const secrets = secretsOf(declaration, context);
  const environment = module?.interface.environment ?? [];
  const device = module?.interface.accelerated === true ? context.device : 'cpu';
  const outputs = outputsOf(stage, context);
  const timeout = quantity(
    declaration.timeout,
    null,
    parseDuration,
    'a time',
    'write 30s, 10m, 1h30m or a number of seconds',
    context,
  );
  const retry = quantity(
    declaration.retry,
    0,
    wholeNumber(0),
    'a whole number',
    'how many times to try again',
    context,
  );
  const resourcesOf = resourcesGetter(declaration, device === 'cuda' ? 1 : 0, context);
  return ({ matrix }) => {
    const scope: Scope = { params: context.params, matrix };
    const found = {
      action: action(scope),
      given: given(scope),
      env: env(scope),
      outputs: outputs(scope),
      timeoutSeconds: timeout(scope),
      retry: retry(scope),
      resources: resourcesOf(scope),
    };
    if (!isComplete(found)) return null;
    // Spelt out: with ten thousand tasks, copying by spreading costs more than all the rest.
    return {
      action: found.action,
      params: found.given.params,
      sources: found.given.sources,
      env: found.env,
      environment,
      secrets,
      outputs: found.outputs,
      timeoutSeconds: found.timeoutSeconds,
      retry: found.retry,
      device,
      resources: found.resources,
      location,
    };
  };
}

function isComplete<T extends object>(values: T): values is { [K in keyof T]: Exclude<T[K], undefined> } {
  for (const name in values) if (values[name] === undefined) return false;
  return true;
}

/** @param leastGpus how many GPUs a task has though its entry names none, or fewer. */
function resourcesGetter(
  { cpu, gpu, memory }: StageDeclaration,
  leastGpus: number,
  context: SettingsContext,
): Getter<Task['resources']> {
  const threads = quantity(cpu, 1, wholeNumber(1), 'a whole number above 0', 'how many CPU threads', context);
  const devices = quantity(gpu, 0, wholeNumber(0), 'a whole number', 'how many GPUs', context);
  const bytes = quantity(memory, 0, parseBytes, 'a size', 'write 512MB, 2GB, 1.5GiB or a number of bytes', context);
  const otherwise: Task['resources'] = { cpu: 1, gpu: leastGpus, memory: 0 };
  if (cpu === null && gpu === null && memory === null) return () => otherwise;
  return (scope) => {
    const resources = { cpu: threads(scope), gpu: devices(scope), memory: bytes(scope) };
    return isComplete(resources) ? { ...resources, gpu: Math.max(leastGpus, resources.gpu) } : undefined;
  };
}

/** Evaluates a template for each scope, or once if it does not look at the matrix; `convert` gets what came out. */
function getter<T>(
  template: Template,
  { params, diagnostics }: SettingsContext,
  convert: (value: Json) => T | undefined,
): Getter<T> {
  const get: Getter<T> = (scope) => {
    const value = evaluateOrReport(template, scope, diagnostics);
    return value === undefined ? undefined : convert(value);
  };
  if (template.roots.has('matrix')) return get;
  const only = get({ params });
  return () => only;
}

function quantity<T extends number | null>(
  template: Template | null,
  otherwise: T,
  parse: (value: Json) => number | null,
  wanted: string,
  hint: string,
  context: SettingsContext,
): Getter<number | T> {
  if (template === null) return () => otherwise;
  return getter<number | T>(template, context, (value) => {
    const parsed = parse(value);
    if (parsed !== null) return parsed;
    context.diagnostics.report(template.node.span, `${JSON.stringify(value)} is not ${wanted}`, hint);
    return undefined;
  });
}

function wholeNumber(minimum: number): (value: Json) => number | null {
  return (value) => (typeof value === 'number' && Number.isSafeInteger(value) && value >= minimum ? value : null);
}

function actionOf(stage: ExpandedStage, context: SettingsContext): Getter<Task['action']> {
  const { declaration, module } = stage;
  if (module !== null) {
    const action = { kind: 'uses', stage: module.name, module: module.module } as const;
    return () => action;
  }
  const { work } = declaration;
  if (work.kind === 'uses') return () => undefined;
  const tokens = {
    in: Object.fromEntries([...declaration.inputs.keys()].map((name) => [name, `{{in:${name}}}`])),
    out: Object.fromEntries([...declaration.outputs.keys()].map((name) => [name, `{{out:${name}}}`])),
  };
  return (scope) => {
    const command = evaluateOrReport(work.command, { ...scope, ...tokens }, context.diagnostics);
    if (command === undefined) return undefined;
    // Without a shell it was compiled to words.
    if (!work.shell) return { kind: 'run', shell: false, command: command as string[] };
    if (typeof command === 'string') return { kind: 'run', shell: true, command };
    context.diagnostics.report(work.command.node.span, `a command must be text, not ${typeName(command)}`);
    return undefined;
  };
}

function textMap(
  entries: ReadonlyMap<string, Entry>,
  context: SettingsContext,
): Getter<Readonly<Record<string, string>>> {
  const getters = [...entries].map(([name, { value }]) => {
    const get = getter(value, context, (result) => {
      if (result === null || typeof result !== 'object') return toText(result);
      context.diagnostics.report(value.node.span, `must be text, not ${typeName(result)}`, 'use join(x) or toJSON(x)');
      return undefined;
    });
    return [name, get] as const;
  });
  if (getters.length === 0) {
    const none = {};
    return () => none;
  }
  return (scope) => {
    const values = Object.fromEntries(getters.map(([name, get]) => [name, get(scope)]));
    return isComplete(values) ? (values as Record<string, string>) : undefined;
  };
}

/** The names of a stage's secrets. One that `env` also gives a value would be in the key, and in every record, for all to read. */
function secretsOf({ secrets, env }: StageDeclaration, { diagnostics }: SettingsContext): readonly string[] {
  return secrets.map(({ value, span }) => {
    const name = String(value);
    if (env.has(name)) diagnostics.report(span, `"${name}" is a secret and stands under "env"`, 'remove it from "env"');
    return name;
  });
}

function outputsOf(stage: ExpandedStage, context: SettingsContext): Getter<Task['outputs']> {
  const { module, declaration } = stage;
  const checked = (name: string, path: string, span: Span): boolean => {
    const problem = pathProblem(path);
    if (problem === null) return true;
    context.diagnostics.report(
      span,
      `the output "${name}" must stay inside the task's folder: ${problem}`,
      'write a relative path, such as table.csv',
    );
    return false;
  };
  if (module === null) {
    const texts = textMap(declaration.outputs, context);
    return (scope) => {
      const paths = texts(scope);
      if (paths === undefined) return undefined;
      const named = Object.entries(paths);
      // Every path is checked, so that each wrong one is reported.
      const wrong = named.filter(
        ([name, path]) => !checked(name, path, declaration.outputs.get(name)!.value.node.span),
      );
      const overlap = wrong.length > 0 ? null : overlapOf(paths);
      if (overlap !== null) {
        const [inner, outer] = overlap;
        const { span } = declaration.outputs.get(inner)!.value.node;
        const same = normalPath(paths[inner]!) === normalPath(paths[outer]!) ? 'is at the path of' : 'lies inside';
        context.diagnostics.report(
          span,
          `the output "${inner}" ${same} the output "${outer}"`,
          'give each its own path',
        );
      }
      return wrong.length > 0 || overlap !== null
        ? undefined
        : Object.fromEntries(named.map(([name, path]) => [name, normalPath(path)]));
    };
  }
  const declared = Object.entries(module.interface.outputs);
  const good = declared.every(([name, { path }]) => checked(name, path, usesSpan(declaration)));
  const outputs = Object.fromEntries(declared.map(([name, { path }]) => [name, normalPath(path)]));
  return () => (good ? outputs : undefined);
}

/** Where `uses:` names the module. */
export function usesSpan({ work, key }: StageDeclaration): Span {
  return work.kind === 'uses' ? work.stage.node.span : key;
}

type Parameters = Pick<Task, 'params' | 'sources'>;

/** The parameters of a stage module: what `with` gives, `--set` on top, defaults below; checked. A command has none. */
function givenParams(stage: ExpandedStage, context: SettingsContext): Getter<Parameters> {
  const { declaration, module } = stage;
  const none: Parameters = { params: {}, sources: [] };
  if (module === null) return () => none;
  const complete = (value: Json): Parameters | undefined => {
    if (value !== null && (typeof value !== 'object' || Array.isArray(value))) {
      context.diagnostics.report(declaration.with!.node.span, `"with" must be a map, not ${typeName(value)}`);
      return undefined;
    }
    return checkedParams(stage, value ?? {}, context);
  };
  if (declaration.with === null) {
    const only = complete({});
    return () => only;
  }
  return getter(declaration.with, context, complete);
}

function checkedParams(
  stage: ExpandedStage,
  given: { readonly [key: string]: Json },
  context: SettingsContext,
): Parameters | undefined {
  const { declaration, module } = stage;
  const specs = module!.interface.params;
  const params: Record<string, Json> = {};
  for (const name in specs) if (specs[name]!.default !== undefined) params[name] = specs[name]!.default;
  for (const name in given) if (given[name] !== null) params[name] = given[name]!;
  const sets = context.sets.get(declaration.name) ?? [];
  for (const { path, value } of sets) params[path.slice(1).join('.')] = value;
  const place = (name: string, path: readonly string[], isKey: boolean): Span => {
    const set = sets.findLast((assignment) => assignment.path.slice(1).join('.') === name);
    if (set !== undefined) return set.span;
    const node = declaration.with?.node ?? null;
    const entry = node?.kind === 'map' ? node.entries.get(name) : undefined;
    if (entry === undefined) return node === null || node.kind === 'map' ? usesSpan(declaration) : node.span;
    return isKey ? entry.key : nodeAt(entry.value, path).span;
  };
  const before = context.diagnostics.count;
  context.checker.checkParams(module!.name, specs, params, place, context.diagnostics);
  if (context.diagnostics.count > before) return undefined;
  const sources: string[] = [];
  for (const name in specs) {
    const value = params[name];
    const local = specs[name]!.format === 'source' && typeof value === 'string' ? localPath(value, context.root) : null;
    if (local === null) continue;
    params[name] = local;
    sources.push(name);
  }
  return { params, sources };
}

/** @returns the absolute path that a source names, or null when it is a URL of another machine, or empty. */
function localPath(source: string, root: string): string | null {
  if (source === '') return null;
  if (source.startsWith('file:')) return fileURLToPath(source);
  return /^[A-Za-z][A-Za-z0-9+.-]+:/.test(source) ? null : resolve(root, source);
}
