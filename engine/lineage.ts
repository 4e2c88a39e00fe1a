/** Where a result comes from: the records behind a published file, a task or a digest, back to the raw sources. */
import { join, relative, resolve, sep } from 'node:path';
import type { Entry } from './catalog.ts';
import { type CodeListing, readCodeListing } from './code.ts';
import { UsageError } from './errors.ts';
import { lineageName } from './manifest.ts';
import { readPublications } from './publish.ts';
import type { Artifact, Digest, Host, JobName, Manifest, TaskRecord } from './record.ts';
import { listRuns, outcomeOf } from './runs.ts';
import { namesIn } from './store.ts';
import { suggest } from './suggest.ts';
import type { Workspace } from './workspace.ts';

/** An execution. */
export interface LineageTask {
  readonly kind: 'task';
  /** The key. */
  readonly id: Digest;
  readonly task: string;
  readonly action: Manifest['action'];
  readonly params: Manifest['params'];
  readonly code: { readonly digest: Digest; readonly listing: CodeListing } | null;
  readonly outputs: Readonly<Record<string, Artifact>>;
  /** Output name -> where the task wrote it in its folder. */
  readonly paths: Manifest['outputs'];
  readonly host: Host;
  /** The cluster's job that ran it; null when it ran on the machine of the run. */
  readonly job: JobName | null;
  readonly startedAt: string;
  readonly seconds: number;
  readonly measurements: TaskRecord['measurements'];
  readonly run: string;
}

/** A file or folder that no task made. */
export interface LineageSource {
  readonly kind: 'source';
  /** The content digest. */
  readonly id: Digest;
  /** Where it lay when it was read, relative to the project. */
  readonly path: string;
}

export type LineageNode = LineageTask | LineageSource;

export function isTask(node: LineageNode): node is LineageTask {
  return node.kind === 'task';
}

/** When an execution ended: ISO 8601, UTC. */
export function endOf({ startedAt, seconds }: LineageTask): string {
  return new Date(Date.parse(startedAt) + Math.round(seconds * 1000)).toISOString();
}

export interface LineageEdge {
  readonly from: Digest;
  readonly to: Digest;
  /** The consumer's input, and the digest of the artifact that went that way. */
  readonly input: string;
  readonly digest: Digest;
  /** The producer's output of that content; null for a source. */
  readonly artifact: string | null;
}

export interface LineageGraph {
  readonly target: string;
  /** The key of the record that made the target. */
  readonly root: Digest;
  /** Consumers before their producers; the root is first. */
  readonly nodes: readonly LineageNode[];
  readonly edges: readonly LineageEdge[];
}

export interface LineageOptions {
  /** What a relative path is relative to; the project's root if not given. */
  readonly cwd?: string;
  /** The pipeline whose task is meant; that of the newest run with such a task if not given. */
  readonly pipeline?: string;
}

/**
 * The lineage of a target.
 * @param target a path under results/, a task's id, or eight or more digits of a key or an artifact's digest.
 * @throws UsageError when the target names nothing that is recorded.
 */
export function lineage(workspace: Workspace, target: string, options: LineageOptions = {}): LineageGraph {
  const { store } = workspace;
  const root = keyOf(workspace, target, options);
  // Stands in for a producer whose record has been collected as garbage: another execution that gave equal content.
  const makers = new Map<Digest, Entry[]>();
  for (const entry of store.catalog.all()) {
    for (const { digest } of Object.values(entry.outputs)) {
      const list = makers.get(digest);
      if (list === undefined) makers.set(digest, [entry]);
      else list.push(entry);
    }
  }
  const nodes = new Map<Digest, LineageNode>();
  const edges: LineageEdge[] = [];
  const open = [root];
  for (let key = open.shift(); key !== undefined; key = open.shift()) {
    if (nodes.has(key)) continue;
    const record = store.readRecord(key);
    if (record === null) throw new UsageError(`the record ${key} behind ${target} is not in the store any more`);
    nodes.set(key, nodeOf(workspace, record));
    for (const { input, digest, producer } of inputsOf(record)) {
      const path = record.sources[input];
      if (path !== undefined) {
        nodes.set(digest, { kind: 'source', id: digest, path });
        edges.push({ from: digest, to: key, input, digest, artifact: null });
        continue;
      }
      // It may be of a shared cache, whose record is here and in no catalog.
      const isRecorded = producer !== undefined && store.readRecord(producer) !== null;
      const maker = isRecorded ? producer : makers.get(digest)?.[0]?.key;
      if (maker === undefined) {
        throw new UsageError(`no record says what made ${digest.slice(0, 12)}, input \`${input}\` of ${record.task}`);
      }
      const outputs = store.readRecord(maker)?.outputs ?? {};
      const artifact = Object.keys(outputs).find((name) => outputs[name]!.digest === digest) ?? null;
      edges.push({ from: maker, to: key, input, digest, artifact });
      open.push(maker);
    }
  }
  return { target, root, nodes: [...nodes.values()], edges };
}

function nodeOf({ store }: Workspace, record: TaskRecord): LineageTask {
  const { key, task, manifest, outputs, host, job = null, startedAt, seconds, measurements, run } = record;
  const { action, params, code } = manifest;
  const listing = code === null ? null : { digest: code, listing: readCodeListing(store.blobPath(code)) };
  return {
    kind: 'task',
    id: key,
    task,
    action,
    params,
    code: listing,
    outputs,
    paths: manifest.outputs,
    host,
    job,
    startedAt,
    seconds,
    measurements,
    run,
  };
}

/** What a record read: the content, and the key of the execution that it came from (none for a file that no task made). */
function inputsOf({
  manifest,
  producers,
}: TaskRecord): { readonly input: string; readonly digest: Digest; readonly producer: Digest | undefined }[] {
  return Object.entries(manifest.inputs).flatMap(([input, value]) => {
    // What it holds are the records of the other inputs, which are followed by themselves.
    if (input.startsWith(lineageName(''))) return [];
    const keys = [producers[input] ?? []].flat();
    const digests = typeof value === 'string' ? [value] : value.map(({ digest }) => digest);
    return digests.map((digest, i) => ({ input, digest, producer: keys[i] }));
  });
}

function keyOf(workspace: Workspace, target: string, { cwd, pipeline }: LineageOptions): Digest {
  const { store, project } = workspace;
  const path = resolve(cwd ?? project.root, target);
  if (path.startsWith(project.results + sep)) {
    const name = relative(project.results, path).split(sep)[0]!;
    const folder = join(project.results, name);
    const line = readPublications(folder).find(({ path: published }) => {
      const at = join(folder, published);
      return path === at || path.startsWith(at + sep);
    });
    if (line !== undefined) return line.key;
    throw new UsageError(
      `${relative(project.root, path)} was not published by any run${publishedHint(project.results)}`,
    );
  }
  if (/^[0-9a-f]{8,64}$/.test(target)) {
    for (const entry of store.catalog.all()) {
      if (entry.key.startsWith(target)) return entry.key;
      if (Object.values(entry.outputs).some(({ digest }) => digest.startsWith(target))) return entry.key;
    }
  }
  for (const run of listRuns(store.cache)) {
    if (pipeline !== undefined && run.pipeline !== pipeline) continue;
    const key = outcomeOf(run, target)?.key;
    if (key !== undefined && key !== null && store.catalog.find(key) !== null) return key;
  }
  if (pipeline !== undefined) throw new UsageError(`no run of ${pipeline} holds a result of ${target}`);
  const all = [...store.catalog.all()];
  const entries = all.filter(({ task }) => task === target);
  const newest = entries.sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1))[0];
  if (newest !== undefined) return newest.key;
  throw new UsageError(
    `${target} is no path under results/, no recorded task, and no digest in the store\n  ${suggest(target, new Set(all.map(({ task }) => task)), 'tasks')}`,
  );
}

function publishedHint(results: string): string {
  const names = namesIn(results).filter((name) => readPublications(join(results, name)).length > 0);
  return names.length === 0 ? ': nothing has been published yet' : `; published are the files of ${names.join(', ')}`;
}
