/** Canonical JSON, a task's manifest and the key that is its digest. */
import { sha256 } from './digest.ts';
import type { Task } from './graph.ts';
import type { Artifact, Digest, Manifest, ManifestMember } from './record.ts';

/**
 * JSON with the keys of every object in code-unit order and no spaces: equal values give equal text.
 * @throws TypeError for what JSON cannot hold exactly (undefined, NaN, infinities, functions).
 */
export function canonicalJson(value: unknown): string {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) throw new TypeError(`${value} cannot be written as JSON`);
      return JSON.stringify(value);
    case 'object':
      break;
    default:
      throw new TypeError(`a ${typeof value} cannot be written as JSON`);
  }
  if (value === null) return 'null';
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  const members: string[] = [];
  for (const key of Object.keys(value).sort()) {
    members.push(`${JSON.stringify(key)}:${canonicalJson((value as Record<string, unknown>)[key])}`);
  }
  return `{${members.join(',')}}`;
}

/** The key of a task: the sha256 of its manifest's canonical JSON. */
export function manifestKey(manifest: Manifest): Digest {
  const members = (Object.keys(manifest) as (keyof Manifest)[])
    .sort()
    .map(
      (name) => `"${name}":${isAlike.has(name) ? knownText(manifest[name] as object) : canonicalJson(manifest[name])}`,
    );
  return sha256(`{${members.join(',')}}`);
}

/** What a stage's tasks have in common: one object, whose text is written once. */
const isAlike: ReadonlySet<keyof Manifest> = new Set(['env', 'outputs'] as const);
const texts = new WeakMap<object, string>();

function knownText(value: object): string {
  let text = texts.get(value);
  if (text === undefined) {
    text = canonicalJson(value);
    texts.set(value, text);
  }
  return text;
}

/** What a manifest takes from outside the task itself. */
export interface Surroundings {
  /** Digest of the code of a stage module. */
  code(module: string): Digest;
  /** Digest of a file or folder that is no task's output. */
  file(path: string): Digest;
  /** The artifact that a finished task gave. */
  artifact(task: string, name: string): Artifact;
  /** Fingerprint of a secret. */
  secret(name: string): string;
  /** Digest of the lineage of the task's inputs. */
  lineage(task: Task): Digest;
}

/** The name in the manifest of an input that holds the lineage of the others. */
export function lineageName(input: string): string {
  return `lineage:${input}`;
}

/** The manifest of a task whose producers are all done. Holds no absolute path: sources enter by content. */
export function manifestOf(task: Task, around: Surroundings): Manifest {
  const { action } = task;
  const inputs: Record<string, Digest | readonly ManifestMember[]> = {};
  for (const [name, ref] of Object.entries(task.inputs)) {
    if (ref.kind === 'file') inputs[name] = around.file(ref.path);
    else if (ref.kind === 'artifact') inputs[name] = around.artifact(ref.task, ref.artifact).digest;
    else if (ref.kind === 'lineage') inputs[lineageName(name)] = around.lineage(task);
    else
      inputs[name] = ref.members.map((member) => ({
        axes: member.axes,
        digest: around.artifact(member.task, member.artifact).digest,
      }));
  }
  let params = task.params;
  if (task.sources.length > 0) {
    const rest = { ...task.params };
    for (const name of task.sources) {
      inputs[`param:${name}`] = around.file(task.params[name] as string);
      delete rest[name];
    }
    params = rest;
  }
  return {
    contract: 1,
    action: action.kind === 'uses' ? { uses: action.stage } : { run: action.command, shell: action.shell },
    code: action.kind === 'uses' ? around.code(action.module) : null,
    params,
    ...(task.device === 'cuda' ? { device: task.device } : {}),
    env: task.env,
    ...(task.secrets.length === 0
      ? {}
      : { secrets: Object.fromEntries(task.secrets.map((name) => [name, around.secret(name)])) }),
    inputs,
    outputs: task.outputs,
  };
}

/** What a task does, in one line: its stage module, or its command with `{{in:NAME}}` and `{{out:NAME}}` for paths. */
export function actionText(action: Manifest['action']): string {
  return 'uses' in action ? action.uses : [action.run].flat().join(' ').trimEnd().replaceAll('\n', '\\n');
}
