/** Opens the graph of a pipeline file: expanded when something that it depends on has changed, else as it was remembered. */
import { relative, resolve } from 'node:path';
import { type DeviceChoice, resolveDevice } from './devices.ts';
import { type FileMark, markOf, sha256, unchanged } from './digest.ts';
import type { Graph, StageResolver, Task } from './graph.ts';
import { canonicalJson } from './manifest.ts';
import { type Packed, pack, unpack } from './packing.ts';
import type { Workspace } from './workspace.ts';

/** What a graph is asked for by: a file and what the command line adds. */
export interface GraphRequest {
  /** The pipeline file: absolute, or relative to the project's root. */
  readonly file: string;
  readonly profile?: string | null;
  /** `NAME=VALUE`, as given to `--param`. */
  readonly params?: readonly string[];
  /** `STAGE.PARAMETER=VALUE`, as given to `--set`. */
  readonly sets?: readonly string[];
  /** What accelerated stages are to compute on; `auto` if not given. */
  readonly device?: DeviceChoice;
}

/** A stage that the expansion asked for, and what the answer was. */
interface Asked {
  readonly name: string;
  readonly from: string;
  readonly answer: string;
}

interface Remembered {
  readonly takenAt: number;
  readonly files: readonly (readonly [string, FileMark])[];
  readonly asked: readonly Asked[];
  /** The graph, its tasks apart: a stage's tasks are alike in most of what they say. */
  readonly graph: Omit<Graph, 'tasks'>;
  readonly tasks: Packed;
}

/** The fields of a task that hardly another has. */
const own = ['id', 'axes', 'params', 'inputs'] as const satisfies readonly (keyof Task)[];

/**
 * The expanded graph.
 * @throws PipelineError for whatever is wrong in the file, in what it includes and in the request.
 */
export async function openGraph(workspace: Workspace, request: GraphRequest): Promise<Graph> {
  const { project, memo, stages } = workspace;
  const file = resolve(project.root, request.file);
  // The engine that expanded it counts too: another one may expand it otherwise.
  const engine = [import.meta.filename, markOf(import.meta.filename)];
  const { profile = null, params = [], sets = [] } = request;
  const device = resolveDevice(request.device ?? 'auto');
  const id = sha256(canonicalJson([engine, project.root, file, profile, params, sets, device]));
  const name = `graphs/${id}`;
  const remembered = memo.read(name) as Remembered | undefined;
  if (remembered !== undefined && (await isCurrent(remembered, stages))) {
    return { ...remembered.graph, tasks: unpack<Task>(remembered.tasks) };
  }

  const takenAt = Date.now();
  const asked: Asked[] = [];
  const resolver: StageResolver = {
    async resolve(stage, from) {
      const answer = await stages.resolve(stage, from);
      asked.push({ name: stage, from, answer: sha256(canonicalJson(answer)) });
      return answer;
    },
    list: () => stages.list(),
  };
  const { loadGraph } = await import('./load.ts');
  const loaded = await loadGraph({
    file: relative(project.root, file),
    root: project.root,
    profile,
    params,
    sets,
    device,
    resolver,
  });
  const files = loaded.files.map((path) => [path, markOf(path)] as const);
  const { tasks, ...graph } = loaded.graph;
  memo.write(name, { takenAt, files, asked, graph, tasks: pack(tasks, own) } satisfies Remembered);
  return loaded.graph;
}

async function isCurrent({ takenAt, files, asked }: Remembered, stages: StageResolver): Promise<boolean> {
  if (!files.every(([path, mark]) => unchanged(path, mark, takenAt))) return false;
  for (const { name, from, answer } of asked) {
    if (sha256(canonicalJson(await stages.resolve(name, from))) !== answer) return false;
  }
  return true;
}
