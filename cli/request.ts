/** Finds out which pipeline is meant, and opens it: the file, its profile and what the command line adds. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, extname, join, relative, resolve } from 'node:path';
import type { DeviceChoice } from '../engine/devices.ts';
import { UsageError } from '../engine/errors.ts';
import type { Emit } from '../engine/events.ts';
import type { Graph } from '../engine/graph.ts';
import { type GraphRequest, openGraph } from '../engine/graphs.ts';
import type { Project } from '../engine/project.ts';
import { suggest } from '../engine/suggest.ts';
import { openWorkspace, type Workspace } from '../engine/workspace.ts';
import { noteText } from './messages.ts';

/** The options by which every command that takes a pipeline is asked. */
export interface RequestOptions {
  readonly profile?: string;
  readonly param?: readonly string[];
  readonly set?: readonly string[];
  readonly device?: DeviceChoice;
}

/** A pipeline, opened. */
export interface Opened {
  readonly workspace: Workspace;
  readonly graph: Graph;
  readonly targets: readonly string[];
}

/** The memo that holds the last run's request, for commands that name no file. */
const LAST = 'last-request';

/** Runs `work` in the project of the current folder, and closes it afterwards. `emit` hears of damage in the store. */
export async function withWorkspace<T>(
  work: (workspace: Workspace) => Promise<T>,
  emit: Emit = tellDamage,
): Promise<T> {
  const workspace = openWorkspace(process.cwd(), emit);
  try {
    return await work(workspace);
  } finally {
    await workspace.close();
  }
}

/** Tells of damage where it is in the way of no output. */
export const tellDamage: Emit = (event) => {
  process.stderr.write(`${noteText(event)}\n`);
};

/**
 * Opens the pipeline that `run` is asked for, and keeps the request for later commands.
 * @param args the file, if the first argument names one, and targets
 */
export async function openForRun(
  workspace: Workspace,
  args: readonly string[],
  options: RequestOptions,
): Promise<Opened> {
  const { file, targets } = splitArgs(workspace.project, args);
  const request = requestOf(file ?? defaultFile(workspace.project, targets[0]), options);
  const graph = await openGraph(workspace, request);
  workspace.memo.write(LAST, request);
  return { workspace, graph, targets };
}

/**
 * Opens the pipeline that is to be looked at, and tells targets from its name. A file that is named is asked for afresh: nothing
 * of the last run counts. Without one it is the last run's request, in which options change what they name: a profile, or
 * device, takes the place of its own, params and sets come on top of its own.
 */
export async function openForLook(
  workspace: Workspace,
  args: readonly string[],
  options: RequestOptions,
): Promise<Opened> {
  const { file, targets } = splitArgs(workspace.project, args);
  return { workspace, graph: await look(workspace, file, options), targets };
}

/** Opens the pipeline that is to be looked at, as `openForLook` does, for commands that take no targets. */
export function openFile(workspace: Workspace, name: string | undefined, options: RequestOptions): Promise<Graph> {
  const { project } = workspace;
  const file = name === undefined ? null : (fileNamed(project, name) ?? noPipeline(project, name));
  return look(workspace, file, options);
}

function look(workspace: Workspace, file: string | null, options: RequestOptions): Promise<Graph> {
  const last = file === null ? lastRequest(workspace) : null;
  if (last === null) return openGraph(workspace, requestOf(file ?? defaultFile(workspace.project), options));
  const { profile, param = [], set = [], device = last.device ?? 'auto' } = options;
  return openGraph(workspace, {
    file: last.file,
    profile: profile ?? last.profile ?? null,
    params: [...(last.params ?? []), ...param],
    sets: [...(last.sets ?? []), ...set],
    device,
  });
}

function requestOf(file: string, { profile, param = [], set = [], device = 'auto' }: RequestOptions): GraphRequest {
  return { file, profile: profile ?? null, params: param, sets: set, device };
}

function lastRequest({ memo, project }: Workspace): GraphRequest | null {
  const last = memo.read(LAST) as GraphRequest | undefined;
  return last !== undefined && existsSync(resolve(project.root, last.file)) ? last : null;
}

/** Tells a file from targets: what ends in .yaml or .yml, or is the name of a file in pipelines/. */
function splitArgs(project: Project, args: readonly string[]): { file: string | null; targets: readonly string[] } {
  const [first, ...rest] = args;
  if (first === undefined) return { file: null, targets: [] };
  const file = fileNamed(project, first);
  return file === null ? { file: null, targets: args } : { file, targets: rest };
}

/** @returns the path relative to the project's root of the pipeline that `name` means, or null when it means none. */
function fileNamed(project: Project, name: string): string | null {
  const path = resolve(name);
  if (statSync(path, { throwIfNoEntry: false })?.isFile() === true) return relative(project.root, path);
  const named = pipelinesOf(project).find((file) => [file, basename(file)].some((known) => bare(known) === bare(name)));
  if (named !== undefined) return named;
  return /\.ya?ml$/.test(name) ? noPipeline(project, name) : null;
}

/** A pipeline's name as it may be given: with its folder and ending or without. */
function bare(name: string): string {
  return name.replace(/^\.\//, '').replace(/\.ya?ml$/, '');
}

function noPipeline(project: Project, name: string): never {
  const names = pipelinesOf(project).map((file) => basename(file, extname(name) === '' ? extname(file) : ''));
  const hint = suggest(basename(name), names, 'pipelines');
  throw new UsageError(`there is no pipeline ${name}\n  ${hint}`);
}

/** @param named what was taken for a target: where no pipeline can be told without a name, it was meant as one. */
function defaultFile(project: Project, named?: string): string {
  const files = pipelinesOf(project);
  const chosen = files.length === 1 ? files[0] : files.find((file) => /\/default\.ya?ml$/.test(file));
  if (chosen !== undefined) return chosen;
  if (files.length === 0)
    throw new UsageError('there is no pipeline in pipelines/\n  write one, or begin with `pipe init`');
  if (named !== undefined) noPipeline(project, named);
  throw new UsageError(`say which pipeline is meant\n  there are ${files.join(', ')}`);
}

function pipelinesOf({ root }: Project): readonly string[] {
  const folder = join(root, 'pipelines');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => /\.ya?ml$/.test(name))
    .sort()
    .map((name) => `pipelines/${name}`);
}
