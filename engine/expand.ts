/** Expands a pipeline to its graph: every task, joined and in order, and what is published. */
import { resolve } from 'node:path';
import type { Device } from './devices.ts';
import { type DiagnosticList, locate, type Span } from './diagnostics.ts';
import { UsageError } from './errors.ts';
import type { Graph, Publication, StageResolver, Task } from './graph.ts';
import type { Pipeline } from './include.ts';
import { type ExpandedStage, expandStage } from './instances.ts';
import { checkReferences, findArtifact, type StageTable, stageLinks } from './link.ts';
import type { Assignment } from './params.ts';
import type { PublishDeclaration, StageDeclaration } from './parse.ts';
import { normalPath, pathProblem } from './paths.ts';
import type { SchemaChecker } from './schema.ts';
import { producersOf } from './select.ts';
import { stageSettings, usesSpan } from './settings.ts';
import type { Json } from './stage.ts';
import { suggest } from './suggest.ts';
import { evaluateOrReport } from './template.ts';
import { topologicalOrder } from './topology.ts';

export interface ExpandOptions {
  readonly root: string;
  readonly profile: string | null;
  readonly params: Readonly<Record<string, Json>>;
  /** What accelerated stages compute on. */
  readonly device: Device;
  readonly sets: readonly Assignment[];
  readonly resolver: StageResolver;
  readonly checker: SchemaChecker;
  readonly diagnostics: DiagnosticList;
}

/**
 * Expands a pipeline. Tasks of included stages are kept only if a stage of the file itself, or a publication, needs them; a file
 * without stages of its own keeps them all.
 * @throws PipelineError with everything that is wrong
 */
export async function expandPipeline(pipeline: Pipeline, options: ExpandOptions): Promise<Graph> {
  const { diagnostics, root, params, profile } = options;
  const sets = setsByStage(pipeline, options);
  const stages: StageTable = new Map([
    ...[...pipeline.broken].map((name) => [name, null] as const),
    ...(await expandStages(pipeline, options)),
  ]);
  const tasks = new Map<string, Task>();
  for (const [name, stage] of stages) {
    if (stage === null) {
      const declaration = pipeline.stages.get(name);
      if (declaration !== undefined) checkReferences(declaration, stages, params, diagnostics);
      continue;
    }
    const settingsOf = stageSettings(stage, { ...options, sets });
    const linksOf = stageLinks(stage, stages, root, params, diagnostics);
    for (const instance of stage.instances) {
      const settings = settingsOf(instance);
      const links = linksOf(instance);
      if (settings === null || links === null) continue;
      tasks.set(instance.id, {
        id: instance.id,
        stage: stage.declaration.name,
        axes: instance.axes,
        action: settings.action,
        params: settings.params,
        sources: settings.sources,
        env: settings.env,
        environment: settings.environment,
        secrets: settings.secrets,
        inputs: links.inputs,
        outputs: settings.outputs,
        needs: links.needs,
        timeoutSeconds: settings.timeoutSeconds,
        retry: settings.retry,
        device: settings.device,
        resources: settings.resources,
        location: settings.location,
      });
    }
  }
  const publications = pipeline.publish.flatMap((entry) => publicationsOf(entry, stages, options));
  checkPublishedPaths(publications, diagnostics);
  diagnostics.throwIfAny();
  const keepAll = pipeline.own.size === 0 && publications.length === 0;
  const roots = [...tasks.values()].filter(({ stage }) => keepAll || pipeline.own.has(stage)).map(({ id }) => id);
  const order = ordered([...roots, ...publications.map(({ task }) => task)], tasks, pipeline, diagnostics);
  diagnostics.throwIfAny();
  if (order.length === 0) diagnostics.report(null, `${pipeline.name} has no stages`, 'declare one under "stages:"');
  diagnostics.throwIfAny();
  return {
    name: pipeline.name,
    description: pipeline.description,
    root,
    profile,
    params,
    tasks: order.map((id) => tasks.get(id)!),
    publications: publications.map(({ span: _, ...publication }) => publication),
  };
}

async function expandStages(
  pipeline: Pipeline,
  { resolver, params, root, diagnostics }: ExpandOptions,
): Promise<readonly (readonly [string, ExpandedStage | null])[]> {
  const expanded: [string, ExpandedStage | null][] = [];
  for (const [name, declaration] of pipeline.stages) {
    const module = await resolveModule(declaration, resolver, { params }, root, diagnostics);
    const stage = module === 'unknown' ? null : expandStage(declaration, module, { params }, diagnostics);
    expanded.push([name, stage]);
  }
  return expanded;
}

async function resolveModule(
  declaration: StageDeclaration,
  resolver: StageResolver,
  scope: { readonly params: Readonly<Record<string, Json>> },
  root: string,
  diagnostics: DiagnosticList,
): Promise<ExpandedStage['module'] | 'unknown'> {
  const { work } = declaration;
  if (work.kind === 'run') return null;
  const name = evaluateOrReport(work.stage, scope, diagnostics);
  if (name === undefined) return 'unknown';
  const span = usesSpan(declaration);
  if (typeof name !== 'string') {
    diagnostics.report(span, '"uses" must name a stage module', 'write a name that `pipe stages` lists');
    return 'unknown';
  }
  const found = await resolver.resolve(name, resolve(root, locate(declaration.key).file)).catch((error: unknown) => {
    if (!(error instanceof UsageError)) throw error;
    diagnostics.report(span, error.message);
    return null;
  });
  if (found === null) return 'unknown';
  if (!('unknown' in found)) return found;
  diagnostics.report(span, `unknown stage module "${name}"`, suggest(name, found.known, 'stage modules'));
  return 'unknown';
}

function setsByStage(
  pipeline: Pipeline,
  { sets, diagnostics }: ExpandOptions,
): ReadonlyMap<string, readonly Assignment[]> {
  const byStage = new Map<string, Assignment[]>();
  for (const set of sets) {
    const [name, parameter] = set.path;
    const stage = pipeline.stages.get(name!);
    if (stage === undefined) {
      if (!pipeline.broken.has(name!))
        diagnostics.report(set.span, `unknown stage "${name}"`, suggest(name!, pipeline.stages.keys(), 'stages'));
    } else if (parameter === undefined || stage.work.kind === 'run') {
      const message =
        parameter === undefined ? 'needs STAGE.PARAMETER=VALUE' : `${name} is a command: it has no parameters`;
      diagnostics.report(set.span, message, `for example: --set train.rank=8`);
    } else {
      byStage.set(name!, [...(byStage.get(name!) ?? []), set]);
    }
  }
  return byStage;
}

type PlacedPublication = Publication & { readonly span: Span };

function publicationsOf(
  entry: PublishDeclaration,
  stages: StageTable,
  { params, diagnostics }: ExpandOptions,
): readonly PlacedPublication[] {
  const from = evaluateOrReport(entry.from, { params }, diagnostics);
  if (from === undefined) return [];
  const found = findArtifact(from, entry.from.node.span, stages, diagnostics);
  if (found === null) return [];
  const { producer, artifact } = found;
  const { span } = entry.path.node;
  const published: PlacedPublication[] = [];
  for (const instance of producer.instances) {
    const path = evaluateOrReport(entry.path, { params, matrix: instance.matrix }, diagnostics);
    if (path === undefined) return [];
    const problem = typeof path === 'string' ? pathProblem(path) : 'the path must be text';
    if (problem !== null) {
      diagnostics.report(
        span,
        `a published path must stay inside results/: ${problem}`,
        'write a relative path, such as tables/summary.csv',
      );
      return [];
    }
    published.push({ path: normalPath(path as string), task: instance.id, artifact, span });
  }
  if (
    producer.axes.length > 0 &&
    published.length > 1 &&
    new Set(published.map(({ path }) => path)).size < published.length
  ) {
    const axes = producer.axes.map((axis) => `\${{ matrix.${axis} }}`).join('-');
    diagnostics.report(
      span,
      `${published.length} tasks of ${producer.declaration.name} would be published under one path`,
      `tell them apart in the path: ${axes}`,
    );
    return [];
  }
  return published;
}

/** Refuses two publications at one path, or one inside the other. */
function checkPublishedPaths(publications: readonly PlacedPublication[], diagnostics: DiagnosticList): void {
  const byPath = new Map<string, PlacedPublication>();
  for (const publication of publications) {
    const { path, span } = publication;
    if (byPath.has(path))
      diagnostics.report(span, `two artifacts would be published at ${path}`, 'give each its own path');
    byPath.set(path, publication);
  }
  for (const { path, span } of publications) {
    for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
      const outer = path.slice(0, slash);
      if (byPath.has(outer))
        diagnostics.report(span, `${path} lies inside ${outer}, which is published too`, 'give each its own folder');
    }
  }
}

function ordered(
  roots: readonly string[],
  tasks: ReadonlyMap<string, Task>,
  pipeline: Pipeline,
  diagnostics: DiagnosticList,
): readonly string[] {
  const result = topologicalOrder(roots, (id) => [...producersOf(tasks.get(id)!), ...tasks.get(id)!.needs]);
  if ('order' in result) return result.order;
  const path = result.cycle.map((id) => tasks.get(id)!);
  const names = path.map(({ stage }) => stage);
  const { key } = pipeline.stages.get(names[0]!)!;
  diagnostics.report(
    key,
    `the stages depend on each other in a circle: ${names.join(' -> ')}`,
    'each needs the next; remove one of these inputs',
  );
  return [];
}
