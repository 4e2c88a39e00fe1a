/** One attempt at a task: its private folder, the inputs laid out in it, and the check of what the task left there. */
import {
  constants,
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import { concurrently } from './concurrently.ts';
import type { Failure } from './events.ts';
import type { Place } from './executor.ts';
import type { Task } from './graph.ts';
import { isAlive, parseIdentity } from './identity.ts';
import { isHeldBy, overlapOf, pathProblem } from './paths.ts';
import type { Artifact } from './record.ts';
import type { Member } from './stage.ts';
import { type Deposit, namesIn, removeTree, type Store } from './store.ts';

export interface Attempt {
  /** The folder that outputs are written in: the task's working directory. */
  readonly folder: string;
  readonly scratch: string;
  readonly inputs: Readonly<Record<string, string | readonly Member[]>>;
  readonly outputs: Readonly<Record<string, string>>;
}

/** Says what is wrong with an attempt; `task` is added to the message by the run. */
export class AttemptError extends Error {
  readonly kind: Failure['kind'];
  constructor(kind: Failure['kind'], message: string) {
    super(message);
    this.kind = kind;
  }
}

/** What the names of folders in the private folder begin with that hold nothing but links to inputs. */
export const inputPrefix = 'in-';
const inputFolder = (name: string) => inputPrefix + name;

/**
 * Makes the private folder with `out/` and, for each input that a task made, `in-NAME/` (its files under their own names,
 * read-only links into the store); for a command also `scratch/`. For a stage that is made when it is asked for: on many disks a
 * folder costs more than a small file, and most of all where many were just removed.
 * @param artifactOf the artifact that a finished task gave, and the path that its producer wrote it to.
 * @param lineage the lineage of the task's inputs, asked for where an input holds it.
 * @throws AttemptError when an output's path leaves the folder, or lies inside another output.
 */
export async function beginAttempt(
  store: Store,
  task: Task,
  place: Place,
  artifactOf: (task: string, name: string) => { artifact: Artifact; path: string },
  lineage: () => string,
): Promise<Attempt> {
  const { home } = place;
  const folder = join(home, 'out');
  const scratch = join(home, 'scratch');
  const outputs = outputPaths(task, folder);
  const folders = Object.entries(task.inputs)
    .filter(([, { kind }]) => kind !== 'file')
    .map(([name]) => inputFolder(name));
  place.make(['out', ...(task.action.kind === 'run' ? ['scratch'] : []), ...folders]);
  try {
    for (const path of Object.values(outputs)) {
      if (dirname(path) !== folder) mkdirSync(dirname(path), { recursive: true });
    }
    const linked = (producer: string, name: string, to: string): Promise<string> => {
      const { artifact, path } = artifactOf(producer, name);
      return store.materialise(artifact, join(home, to, basename(path)));
    };
    const inputs: Record<string, string | readonly Member[]> = {};
    for (const [name, ref] of Object.entries(task.inputs)) {
      const at = inputFolder(name);
      if (ref.kind === 'file') inputs[name] = ref.path;
      else if (ref.kind === 'lineage') inputs[name] = writeLineage(join(home, at), lineage());
      else if (ref.kind === 'artifact') inputs[name] = await linked(ref.task, ref.artifact, at);
      else {
        const members: Member[] = [];
        for (const [index, member] of ref.members.entries()) {
          const to = join(at, String(index));
          mkdirSync(join(home, to));
          members.push({ path: await linked(member.task, member.artifact, to), axes: member.axes });
        }
        inputs[name] = members;
      }
    }
    return { folder, scratch, inputs, outputs };
  } catch (thrown) {
    await place.leave(false);
    throw thrown;
  }
}

/** Where a task is to write its outputs. @throws AttemptError when a path leaves the folder, or lies inside another output. */
function outputPaths(task: Task, folder: string): Record<string, string> {
  const outputs: Record<string, string> = {};
  for (const [name, path] of Object.entries(task.outputs)) outputs[name] = join(folder, checkedPath(name, path));
  const overlap = overlapOf(task.outputs);
  if (overlap !== null) {
    const [inner, outer] = overlap;
    const paths = `${task.outputs[inner]} in ${task.outputs[outer]}`;
    throw new AttemptError(
      'escape',
      `output \`${inner}\` lies inside output \`${outer}\` (${paths}): give each its own path`,
    );
  }
  return outputs;
}

function writeLineage(folder: string, text: string): string {
  const path = join(folder, 'lineage.json');
  writeFileSync(path, text, { mode: 0o444 });
  return path;
}

function checkedPath(name: string, path: string): string {
  const problem = pathProblem(path);
  if (problem !== null) throw new AttemptError('escape', `output \`${name}\` leaves the task's folder: ${problem}`);
  return path;
}

/**
 * Checks what a task left, and takes its outputs into a deposit.
 * @throws AttemptError for an output that was not written, and for anything that leaves the private folder.
 */
export async function collectOutputs(
  deposit: Deposit,
  task: Task,
  attempt: Attempt,
): Promise<Record<string, Artifact>> {
  const home = join(attempt.folder, '..');
  const own = new Set(['out', 'scratch', ...Object.keys(task.inputs).map(inputFolder)]);
  const strangers = readdirSync(home).filter((name) => !own.has(name));
  if (strangers.length > 0) {
    throw new AttemptError(
      'escape',
      `wrote ${strangers.join(', ')} beside its folder: outputs belong at the paths that it is given`,
    );
  }
  if (!lstatSync(attempt.folder).isDirectory()) {
    throw new AttemptError(
      'escape',
      'put something else in the place of its folder: write to the paths that are given',
    );
  }
  const written = Object.entries(attempt.outputs).map(
    ([name, path]) => [name, path, lstatSync(path, { throwIfNoEntry: false })] as const,
  );
  const unwritten = written.filter(([, , stat]) => stat === undefined);
  if (unwritten.length > 0) {
    const names = unwritten.map(([name]) => `\`${name}\` (${task.outputs[name]})`).join(', ');
    throw new AttemptError('unwritten-output', `ended well but did not write its output ${names}`);
  }
  const artifacts: Record<string, Artifact> = {};
  for (const [name, path, stat] of written) {
    // A link in the place of a folder above it would have a file of elsewhere taken into the store, and moved there.
    if (dirname(path) !== attempt.folder && !isHeldBy(path, attempt.folder)) {
      const shown = relative(attempt.folder, path);
      throw new AttemptError(
        'escape',
        `output \`${name}\`: a folder above ${shown} is a link out of the task's folder`,
      );
    }
    settleLinks(name, path, stat!, attempt.folder);
  }
  await concurrently(written, async ([name, path, stat]) => {
    artifacts[name] = stat!.isDirectory() ? await deposit.adoptFolder(path) : await deposit.adoptFile(path);
  });
  // In the order in which they are declared, whichever was digested first.
  return Object.fromEntries(written.map(([name]) => [name, artifacts[name]!]));
}

/**
 * Replaces links that stay inside the private folder by what they point to, and a file that has another name elsewhere (a
 * hard link) by a copy, because the store makes its files read-only. Refuses links that leave, and odd files.
 */
function settleLinks(name: string, path: string, stat: Stats, attemptFolder: string): void {
  if (stat.isDirectory()) {
    for (const entry of readdirSync(path)) {
      const below = join(path, entry);
      settleLinks(name, below, lstatSync(below), attemptFolder);
    }
    return;
  }
  if (stat.isFile()) {
    if (stat.nlink > 1) replaceBy(path, path);
    return;
  }
  const folder = realpathSync(attemptFolder);
  const shown = relative(attemptFolder, path);
  if (!stat.isSymbolicLink()) {
    throw new AttemptError('escape', `output \`${name}\`: ${shown} is neither a file nor a folder`);
  }
  let target: string;
  try {
    target = realpathSync(path);
  } catch {
    throw new AttemptError('escape', `output \`${name}\`: ${shown} is a link to nothing`);
  }
  if (!target.startsWith(folder + sep)) {
    throw new AttemptError(
      'escape',
      `output \`${name}\`: ${shown} is a link out of the task's folder, to ${target}: copy the content instead`,
    );
  }
  if (!statSync(target).isFile()) {
    throw new AttemptError('escape', `output \`${name}\`: ${shown} is a link to a folder: copy the content instead`);
  }
  replaceBy(target, path);
}

/** Puts a copy of a file in the place of a link. */
function replaceBy(target: string, path: string): void {
  const copy = `${path}.copy-${process.pid}`;
  copyFileSync(target, copy, constants.COPYFILE_FICLONE);
  renameSync(copy, path);
}

/** Removes the private folders and worker logs of processes that have died. */
export function sweepAttempts(cache: string): void {
  const folder = join(cache, 'work');
  for (const name of namesIn(folder)) {
    const owner = parseIdentity(name);
    if (owner !== null && isAlive(owner)) continue;
    if (name.endsWith('.log')) rmSync(join(folder, name), { force: true });
    else removeTree(join(folder, name));
  }
}
