/** Publishes artifacts under results/NAME/, and keeps the table of what was published from which record. */
import {
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { sha256, walk } from './digest.ts';
import { errorCode, UsageError } from './errors.ts';
import type { EventBody } from './events.ts';
import type { Graph } from './graph.ts';
import { isHeldBy, pathProblem } from './paths.ts';
import type { Artifact, Digest } from './record.ts';
import { removeTree, type Store } from './store.ts';
import { sweepTemporaries, temporaryFor, writeWhole } from './whole.ts';

/** One line of the table: what lies at a path below results/NAME/, and the record that it comes from. */
export interface Published {
  readonly path: string;
  readonly task: string;
  readonly artifact: string;
  readonly key: Digest;
  readonly kind: Artifact['kind'];
  readonly digest: Digest;
  /** Sizes and times of the published files, by which a later run sees that they are as they were left. */
  readonly mark: string;
}

export const tableName = '.pipe-publications.json';

/** Up to this size a file is copied where blocks cannot be shared: an edit in results/ then cannot reach the store. */
const copyBytes = 4 << 20;

/**
 * The table of a folder results/NAME; empty when there is none. The folder may come from anywhere, a clone say: a line whose
 * path leads out of it is as if it were not there, for what the table names is also removed when it is published no more.
 */
export function readPublications(folder: string): Published[] {
  try {
    const lines = JSON.parse(readFileSync(join(folder, tableName), 'utf8')) as Published[];
    return lines.filter(({ path }) => typeof path === 'string' && pathProblem(path) === null);
  } catch {
    return [];
  }
}

/** What a finished task gave. */
export interface Result {
  readonly key: Digest;
  readonly outputs: Readonly<Record<string, Artifact>>;
}

/**
 * Brings results/NAME/ up to date with the results of a run.
 * Each file or folder appears whole, by renaming; the table is written last, so after a kill the next run puts right
 * what the table does not vouch for.
 * @param mayLink asked once there is a large file to publish: whether it may be the blob itself, by a hard link.
 * @param prune whether to remove what an earlier run published and the pipeline no longer does.
 * @returns the artifacts that were not published because they are damaged in the store; their records are forgotten.
 * @throws UsageError for a path that leaves results/NAME/.
 */
export async function publish(
  results: string,
  store: Store,
  graph: Graph,
  resultOf: (task: string) => Result | null,
  mayLink: () => boolean,
  prune: boolean,
  say: (body: EventBody) => void,
): Promise<{ readonly task: string; readonly artifact: string }[]> {
  const folder = join(results, graph.name);
  const damaged: { task: string; artifact: string }[] = [];
  const before = new Map(readPublications(folder).map((line) => [line.path, line]));
  const table = new Map(before);
  let changed = false;
  let isSwept = false;
  const sweepOnce = () => {
    if (!isSwept) sweepTemporaries(folder);
    isSwept = true;
  };
  for (const { path, task, artifact: name } of graph.publications) {
    const result = resultOf(task);
    const artifact = result?.outputs[name];
    if (result === null || artifact === undefined) continue;
    const to = join(folder, path);
    const problem = pathProblem(path);
    if (problem !== null) throw new UsageError(`publication of pipeline ${graph.name}: ${problem}`);
    const old = before.get(path);
    const isThere =
      old !== undefined && old.digest === artifact.digest && old.kind === artifact.kind && markOf(to) === old.mark;
    if (!isThere) {
      // A large published file may be the blob itself, by another name: what was done to it was done to the store.
      if ((await store.unsound(artifact)).length > 0) {
        store.catalog.remove(result.key);
        damaged.push({ task, artifact: name });
        continue;
      }
      sweepOnce();
      mkdirSync(dirname(to), { recursive: true });
      if (!isHeldBy(to, folder)) {
        throw new UsageError(
          `${relative(results, to)} would be published elsewhere: a folder above it is a link\n  remove the link`,
        );
      }
      place(store, artifact, to, mayLink);
      say({ type: 'published', path: to, task, artifact: name });
    }
    const mark = isThere ? old.mark : (markOf(to) ?? '');
    const line: Published = {
      path,
      task,
      artifact: name,
      key: result.key,
      kind: artifact.kind,
      digest: artifact.digest,
      mark,
    };
    if (JSON.stringify(line) !== JSON.stringify(old)) changed = true;
    table.set(path, line);
  }
  if (prune) {
    const wanted = new Set(graph.publications.map(({ path }) => path));
    for (const path of before.keys()) {
      if (wanted.has(path)) continue;
      const at = join(folder, path);
      if (existsSync(dirname(at)) && isHeldBy(at, folder)) {
        removeTree(at);
        removeEmptyParents(at, folder);
      }
      table.delete(path);
      changed = true;
      say({ type: 'unpublished', path: at });
    }
  }
  if (!changed) return damaged;
  sweepOnce();
  writeWhole(join(folder, tableName), `${JSON.stringify([...table.values()], null, 1)}\n`);
  return damaged;
}

function place(store: Store, artifact: Artifact, to: string, mayLink: () => boolean): void {
  const temporary = temporaryFor(to);
  try {
    if (artifact.kind === 'file') give(store.blobPath(artifact.digest), temporary, mayLink);
    else giveFolder(store, artifact.digest, temporary, mayLink);
    takePlace(temporary, to);
  } catch (thrown) {
    removeTree(temporary);
    throw thrown;
  }
}

/** How often another run may put the same thing in the place that was just made free. */
const rivals = 50;

/**
 * Renames over whatever is there. A folder can neither be renamed over nor take a file's place, so what is there is first moved
 * aside, whole: another run may be at the same, and nobody removes a folder that the other is renaming.
 */
function takePlace(from: string, to: string): void {
  for (let tries = 1; ; tries++) {
    try {
      renameSync(from, to);
      return;
    } catch (thrown) {
      const isTaken = ['ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'EISDIR'].includes(errorCode(thrown) ?? '');
      if (!isTaken || tries > rivals) throw thrown;
    }
    const aside = temporaryFor(`${to}.old`);
    try {
      renameSync(to, aside);
    } catch (thrown) {
      if (errorCode(thrown) !== 'ENOENT') throw thrown;
    }
    removeTree(aside);
  }
}

function giveFolder(store: Store, folder: Digest, to: string, mayLink: () => boolean): void {
  mkdirSync(to);
  for (const { path, digest } of store.entriesOf(folder)) {
    const file = join(to, path);
    mkdirSync(digest === null ? file : dirname(file), { recursive: true });
    if (digest !== null) give(store.blobPath(digest), file, mayLink);
  }
}

/** Gives a file the content of a blob: by shared blocks, a copy or, where that is allowed, for a large file a hard link (read-only). */
function give(blob: string, to: string, mayLink: () => boolean): void {
  try {
    copyFileSync(blob, to, constants.COPYFILE_FICLONE_FORCE);
    makeWritable(to);
    return;
  } catch {
    // The disk cannot share blocks.
  }
  if (statSync(blob).size <= copyBytes) {
    writeFileSync(to, readFileSync(blob));
    return;
  }
  if (mayLink()) {
    try {
      linkSync(blob, to);
      return;
    } catch {
      // Another disk, or one without links.
    }
  }
  copyFileSync(blob, to);
  makeWritable(to);
}

/** A copy has the read-only mode of its blob, and is nobody's but the user's. */
function makeWritable(path: string): void {
  chmodSync(path, 0o666 & ~process.umask());
}

/** Sizes and times of what lies at a path; null when nothing does, or when another run is replacing it. */
function markOf(path: string): string | null {
  try {
    const stat = statSync(path);
    if (stat.isFile()) return `${stat.size}:${stat.mtimeMs}`;
    const lines = walk(path).map((name) => {
      const file = statSync(join(path, name));
      return `${name}:${file.size}:${file.mtimeMs}`;
    });
    return sha256(lines.sort().join('\n'));
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return null;
    throw thrown;
  }
}

function removeEmptyParents(path: string, upTo: string): void {
  for (let folder = dirname(path); folder.startsWith(upTo + sep); folder = dirname(folder)) {
    try {
      rmdirSync(folder);
    } catch {
      return;
    }
  }
}
