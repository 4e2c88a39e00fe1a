/** Why a task is stale: the difference between its manifest now and the one last recorded for it, in a person's words. */
import type { CodeListing } from './code.ts';
import { actionText, canonicalJson } from './manifest.ts';
import type { Digest, Manifest, ManifestMember } from './record.ts';
import type { Json } from './stage.ts';

/** One thing that differs between two manifests; undefined stands for what one of them does not have. */
export interface Difference {
  readonly what: 'action' | 'device' | 'parameter' | 'env' | 'secret' | 'input' | 'source' | 'code' | 'output';
  /** The parameter, variable, input, source file or output. */
  readonly name: string;
  readonly old: Json | undefined;
  readonly new: Json | undefined;
}

/** Why a task has to run. */
export type Reason =
  | { readonly kind: 'new' }
  | { readonly kind: 'changed'; readonly since: string; readonly differences: readonly Difference[] }
  | { readonly kind: 'upstream'; readonly tasks: readonly string[] }
  | { readonly kind: 'forced' }
  | { readonly kind: 'lost'; readonly detail: string };

/** Everything that differs between two manifests, down to the parameter, the input and the source file. */
export function differencesOf(
  before: Manifest,
  now: Manifest,
  listingOf: (code: Digest) => CodeListing | null,
): Difference[] {
  const found: Difference[] = [];
  const compare = (what: Difference['what'], old: object, next: object, rename = (name: string) => name) => {
    // By own keys: a parameter may be called `constructor`.
    const at = (values: object, name: string) =>
      Object.hasOwn(values, name) ? (values as Readonly<Record<string, Json>>)[name] : undefined;
    for (const name of new Set([...Object.keys(old), ...Object.keys(next)])) {
      const [was, is] = [at(old, name), at(next, name)];
      if (!same(was, is)) found.push({ what, name: rename(name), old: was, new: is });
    }
  };
  if (!same(before.action, now.action)) {
    found.push({
      what: 'action',
      name: 'uses' in now.action ? 'uses' : 'run',
      old: asJson(before.action),
      new: asJson(now.action),
    });
  }
  compare('device', { device: before.device ?? 'cpu' }, { device: now.device ?? 'cpu' });
  compare('parameter', before.params, now.params);
  compare('env', before.env, now.env);
  compare('secret', before.secrets ?? {}, now.secrets ?? {});
  compare('output', before.outputs, now.outputs);
  const [oldSources, oldInputs] = splitInputs(before);
  const [newSources, newInputs] = splitInputs(now);
  compare('source', oldSources, newSources, (name) => name.slice('param:'.length));
  compare('input', flat(oldInputs), flat(newInputs));
  if (before.code !== now.code) {
    const old = before.code === null ? {} : listingOf(before.code);
    const next = now.code === null ? {} : listingOf(now.code);
    if (old !== null && next !== null) compare('code', old, next);
    else found.push({ what: 'code', name: 'the code', old: before.code, new: now.code });
  }
  return found;
}

function same(a: unknown, b: unknown): boolean {
  if (a === undefined || b === undefined) return a === b;
  return canonicalJson(a) === canonicalJson(b);
}

function asJson(value: unknown): Json {
  return JSON.parse(JSON.stringify(value)) as Json;
}

type Inputs = Manifest['inputs'];

function splitInputs({ inputs }: Manifest): [Inputs, Inputs] {
  const entries = Object.entries(inputs);
  return [
    Object.fromEntries(entries.filter(([name]) => name.startsWith('param:'))),
    Object.fromEntries(entries.filter(([name]) => !name.startsWith('param:'))),
  ];
}

/** Inputs with each member of a fan-in by itself: `evals[rank=16]`. */
function flat(inputs: Inputs): Record<string, Digest> {
  const named: Record<string, Digest> = {};
  for (const [name, value] of Object.entries(inputs)) {
    if (typeof value === 'string') named[name] = value;
    else
      for (const member of value as readonly ManifestMember[])
        named[`${name}[${axesText(member.axes)}]`] = member.digest;
  }
  return named;
}

function axesText(axes: Readonly<Record<string, Json>>): string {
  return Object.entries(axes)
    .map(([axis, value]) => `${axis}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(',');
}

/** A reason in words: one line for each difference. */
export function reasonLines(reason: Reason): string[] {
  switch (reason.kind) {
    case 'new':
      return ['it has no result yet'];
    case 'forced':
      return ['it was asked for with --force'];
    case 'lost':
      return [reason.detail];
    case 'upstream':
      return [`it waits for ${reason.tasks.join(', ')}`];
    case 'changed':
      // Without a difference, the record of an execution that was the same has been removed since.
      return reason.differences.length === 0
        ? ['its result is not in the store any more']
        : reason.differences.map(differenceLine);
  }
}

function differenceLine({ what, name, old, new: next }: Difference): string {
  const isDigest = (value: Json | undefined) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);
  const show = (value: Json | undefined) => {
    if (value === undefined) return '(none)';
    return isDigest(value) ? (value as string).slice(0, 12) : JSON.stringify(value);
  };
  if (what === 'secret') {
    const became = old === undefined ? 'is new' : next === undefined ? 'is gone' : 'has another value';
    return `secret ${name} ${became}`;
  }
  if (what === 'action') {
    const [was, is] = [old, next] as unknown as Manifest['action'][];
    return `${name === 'uses' ? 'the stage module' : 'the command'} changed: ${actionText(was!)} -> ${actionText(is!)}`;
  }
  const subject = what === 'code' || what === 'device' ? name : `${what} ${name}`;
  if (old === undefined) return `${subject} is new: ${show(next)}`;
  if (next === undefined) return `${subject} is gone (was ${show(old)})`;
  return `${subject} changed: ${show(old)} -> ${show(next)}`;
}
