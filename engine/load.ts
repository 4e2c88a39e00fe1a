/** The door of the language: from a pipeline file and what the command line adds, to the graph. */
import type { Device } from './devices.ts';
import { DiagnosticList } from './diagnostics.ts';
import { expandPipeline } from './expand.ts';
import type { Graph, StageResolver } from './graph.ts';
import { readPipeline } from './include.ts';
import { parseAssignment, resolveParams } from './params.ts';
import { SchemaChecker } from './schema.ts';

export interface LoadOptions {
  /** The pipeline file: absolute, or relative to the root. */
  readonly file: string;
  /** The project's root, absolute. */
  readonly root: string;
  readonly profile?: string | null;
  /** `NAME=VALUE`, as given to `--param`. */
  readonly params?: readonly string[];
  /** `STAGE.PARAMETER=VALUE`, as given to `--set`. */
  readonly sets?: readonly string[];
  /** What accelerated stages compute on; the CPU if not given. */
  readonly device?: Device;
  readonly resolver: StageResolver;
}

export interface LoadedGraph {
  readonly graph: Graph;
  /** Absolute paths of the pipeline files that were read: the graph is good as long as they, the options and the stages' interfaces stay. */
  readonly files: readonly string[];
}

/**
 * Loads a pipeline.
 * @throws PipelineError with every finding: in the file, in what it includes and in the options
 */
export async function loadGraph({
  file,
  root,
  profile = null,
  params = [],
  sets = [],
  device = 'cpu',
  resolver,
}: LoadOptions): Promise<LoadedGraph> {
  const diagnostics = new DiagnosticList();
  const checker = new SchemaChecker();
  const pipeline = readPipeline(file, root, checker, diagnostics);
  const read = (option: string, texts: readonly string[]) =>
    texts.map((text) => parseAssignment(option, text, diagnostics)).filter((assignment) => assignment !== null);
  const assignments = read('--param', params);
  const setAssignments = read('--set', sets);
  const values = resolveParams(pipeline, profile, assignments, diagnostics);
  const graph = await expandPipeline(pipeline, {
    root,
    profile,
    params: values,
    device,
    sets: setAssignments,
    resolver,
    checker,
    diagnostics,
  });
  return { graph, files: pipeline.files };
}
