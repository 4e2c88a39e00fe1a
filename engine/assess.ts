/** Whether a task's result is in the store: what plan and run share. */

import { ancestryText } from './ancestry.ts';
import type { Code } from './code.ts';
import { concurrently } from './concurrently.ts';
import { sha256 } from './digest.ts';
import { messageOf } from './errors.ts';
import type { Task } from './graph.ts';
import { manifestKey, manifestOf } from './manifest.ts';
import type { Result } from './publish.ts';
import type { Artifact, Digest, Manifest, TaskRecord } from './record.ts';
import { missingSecret } from './secrets.ts';
import type { Workspace } from './workspace.ts';

/** What the graph's tasks take from outside the graph, digested: code and files. */
export interface Facts {
  readonly code: ReadonlyMap<string, Code>;
  readonly files: ReadonlyMap<string, Artifact>;
  /** Path -> why it could not be read. */
  readonly unreadable: ReadonlyMap<string, string>;
}

/** The files that a task reads which no task makes: their name in the manifest's inputs, and the path. */
export function outsideFiles(task: Task): [string, string][] {
  const files: [string, string][] = [];
  for (const [name, ref] of Object.entries(task.inputs)) if (ref.kind === 'file') files.push([name, ref.path]);
  for (const name of task.sources) files.push([`param:${name}`, task.params[name] as string]);
  return files;
}

/** A source's name in a sentence. */
export function sourceName(name: string): string {
  return name.startsWith('param:') ? `parameter \`${name.slice('param:'.length)}\`` : `input \`${name}\``;
}

/** Digests the code and the outside files of tasks. @throws UsageError when a stage cannot be built. */
export async function readFacts(workspace: Workspace, tasks: readonly Task[]): Promise<Facts> {
  const modules = new Set<string>();
  const paths = new Set<string>();
  for (const task of tasks) {
    if (task.action.kind === 'uses') modules.add(task.action.module);
    for (const [, path] of outsideFiles(task)) paths.add(path);
  }
  const code = new Map<string, Code>();
  for (const module of modules) code.set(module, await workspace.stages.code(module));
  const files = new Map<string, Artifact>();
  const unreadable = new Map<string, string>();
  await concurrently(paths, async (path) => {
    try {
      files.set(path, await workspace.digester.of(path));
    } catch (thrown) {
      unreadable.set(path, messageOf(thrown));
    }
  });
  return { code, files, unreadable };
}

/** Why a task can have no manifest, or null. */
export function brokenBecause(task: Task, facts: Facts): string | null {
  for (const [name, path] of outsideFiles(task)) {
    const problem = facts.unreadable.get(path);
    if (problem !== undefined) return `${sourceName(name)}: ${problem}`;
  }
  const missing = missingSecret(task);
  return missing === null
    ? null
    : `its secret ${missing} is not set: put it into the environment, \`export ${missing}=...\``;
}

/** The keys behind a task's inputs, as its record keeps them. */
export function producerKeys(task: Task, resultOf: (task: string) => Result): TaskRecord['producers'] {
  const keyOf = ({ task: id }: { readonly task: string }) => resultOf(id).key;
  const keys: Record<string, Digest | readonly Digest[]> = {};
  for (const [name, input] of Object.entries(task.inputs)) {
    if (input.kind === 'artifact') keys[name] = keyOf(input);
    else if (input.kind === 'all') keys[name] = input.members.map(keyOf);
  }
  return keys;
}

/** The lineage of the inputs of a task whose producers are all done. */
export function lineageText(
  { store }: Pick<Workspace, 'store'>,
  task: Task,
  resultOf: (task: string) => Result,
): string {
  return ancestryText(producerKeys(task, resultOf), (key) => store.readRecord(key));
}

/** The manifest and key of a task whose producers are done and that is not broken. */
export function identify(
  workspace: Pick<Workspace, 'store' | 'fingerprints'>,
  task: Task,
  facts: Facts,
  resultOf: (task: string) => Result,
): { manifest: Manifest; key: Digest } {
  const manifest = manifestOf(task, {
    code: (module) => facts.code.get(module)!.digest,
    file: (path) => facts.files.get(path)!.digest,
    artifact: (id, name) => resultOf(id).outputs[name]!,
    secret: (name) => workspace.fingerprints.of(name, process.env[name]!),
    lineage: () => sha256(lineageText(workspace, task, resultOf)),
  });
  return { manifest, key: manifestKey(manifest) };
}
