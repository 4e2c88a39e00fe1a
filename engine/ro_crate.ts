/**
 * Lineage as a Workflow Run RO-Crate: a folder with the pipeline, every artifact and source on the way to the target, and
 * `ro-crate-metadata.json`, which says how each came about.
 * Rules: RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) and Provenance Run Crate 0.5 (https://w3id.org/ro/wfrun/provenance/0.5),
 * which is a Workflow Run Crate with a step, a control action and a tool for each execution.
 */
import { chmodSync, constants, copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { walk } from './digest.ts';
import { UsageError } from './errors.ts';
import { endOf, isTask, type LineageGraph, type LineageNode, type LineageSource, type LineageTask } from './lineage.ts';
import { pathProblem } from './paths.ts';
import type { Artifact } from './record.ts';
import type { Workspace } from './workspace.ts';

interface Reference {
  readonly '@id': string;
}
type Entity = Reference & { readonly '@type': string | readonly string[]; readonly [property: string]: unknown };

/** What the lineage alone does not say. */
export interface CrateFacts {
  readonly name: string;
  /** The pipeline's file and what it includes, absolute; the first is the pipeline's own. */
  readonly pipelineFiles: readonly string[];
  /** An SPDX identifier, or a sentence; what the project's package.json says. */
  readonly license: string;
  /** Of this engine. */
  readonly version: string;
}

const profiles: readonly (readonly [id: string, name: string, version: string])[] = [
  ['https://w3id.org/ro/wfrun/process/0.5', 'Process Run Crate', '0.5'],
  ['https://w3id.org/ro/wfrun/workflow/0.5', 'Workflow Run Crate', '0.5'],
  ['https://w3id.org/ro/wfrun/provenance/0.5', 'Provenance Run Crate', '0.5'],
  ['https://w3id.org/workflowhub/workflow-ro-crate/1.0', 'Workflow RO-Crate', '1.0'],
];

const ref = (id: string): Reference => ({ '@id': id });
const completed = 'http://schema.org/CompletedActionStatus';
/** The profile's pattern wants an offset, not `Z`. */
const time = (utc: string): string => utc.replace(/Z$/, '+00:00');

/** Where an artifact lies in the crate: a folder's path ends with `/`. */
function artifactPath({ id, task, paths }: LineageTask, output: string, { kind }: Artifact): string {
  const stage = task.replace(/\[.*/s, '').replaceAll(/[^\w.-]+/g, '-');
  return `artifacts/${stage}-${id.slice(0, 12)}/${paths[output]}${kind === 'folder' ? '/' : ''}`;
}

function sourcePath({ id, path }: LineageSource, isFolder: boolean): string {
  // A path such as `..` has no name of its own.
  const name = pathProblem(basename(path)) === null ? basename(path) : 'source';
  return `sources/${id.slice(0, 12)}/${name}${isFolder ? '/' : ''}`;
}

/** A relative path as an RO-Crate identifier: a relative URI. */
const uri = (path: string): string => path.split('/').map(encodeURIComponent).join('/');

/**
 * Writes the crate.
 * @param folder must be new or empty.
 * @returns how many files it holds, the metadata file not counted.
 * @throws UsageError when the folder is in use, a source file is not any more what was read, or an artifact is damaged.
 */
export async function writeCrate(
  workspace: Workspace,
  graph: LineageGraph,
  facts: CrateFacts,
  folder: string,
): Promise<number> {
  if (existsSync(folder) && readdirSync(folder).length > 0)
    throw new UsageError(`${folder} is not empty\n  name a new folder`);
  const files = await contentOf(workspace, graph, facts);
  for (const { from, to } of files) {
    if (from.kind === 'file') copy(from.path, join(folder, to));
    else {
      mkdirSync(join(folder, to), { recursive: true });
      for (const name of walk(from.path)) {
        if (name.endsWith('/')) mkdirSync(join(folder, to, name), { recursive: true });
        else copy(join(from.path, name), join(folder, to, name));
      }
    }
  }
  const folders = new Set(files.flatMap(({ from, to }) => (from.kind === 'folder' ? [to] : [])));
  const metadata = crateMetadata(graph, facts, workspace.project.root, folders);
  writeFileSync(join(folder, 'ro-crate-metadata.json'), `${JSON.stringify(metadata, null, 2)}\n`);
  return files.length;
}

/** Copies a file, sharing blocks where the disk can, without the read-only mode of the store. */
function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to, constants.COPYFILE_FICLONE);
  chmodSync(to, 0o644);
}

interface Content {
  readonly from: { readonly kind: Artifact['kind']; readonly path: string };
  /** Relative to the crate. */
  readonly to: string;
}

/** Every file and folder of the crate, checked to be what the records say. */
async function contentOf(
  { store, digester, project }: Workspace,
  { nodes }: LineageGraph,
  { pipelineFiles }: CrateFacts,
): Promise<Content[]> {
  const files: Content[] = pipelineFiles.map((path) => ({
    from: { kind: 'file', path },
    to: pipelinePath(path, project.root),
  }));
  for (const node of nodes) {
    if (!isTask(node)) {
      const path = resolve(project.root, node.path);
      const now = await digester.of(path).catch(() => null);
      if (now?.digest !== node.id)
        throw new UsageError(`${node.path} is not what was read any more\n  run again, or restore it`);
      files.push({ from: { kind: now.kind, path }, to: sourcePath(node, now.kind === 'folder').replace(/\/$/, '') });
      continue;
    }
    for (const [output, artifact] of Object.entries(node.outputs)) {
      if ((await store.unsound(artifact)).length > 0)
        throw new UsageError(`the output ${output} of ${node.task} is damaged in the store\n  run again`);
      const path = artifact.kind === 'file' ? store.blobPath(artifact.digest) : await store.materialise(artifact, '');
      files.push({
        from: { kind: artifact.kind, path },
        to: artifactPath(node, output, artifact).replace(/\/$/, ''),
      });
    }
  }
  return files;
}

function pipelinePath(path: string, root: string): string {
  const inside = relative(root, path);
  return inside.startsWith('..') ? `pipelines/${basename(path)}` : inside;
}

/** The content of ro-crate-metadata.json. `folders` are the paths in the crate, without a final `/`, that are folders. */
export function crateMetadata(
  { target, root, nodes, edges }: LineageGraph,
  { name, pipelineFiles, license, version }: CrateFacts,
  projectRoot: string,
  folders: ReadonlySet<string>,
): { readonly '@context': unknown; readonly '@graph': readonly Entity[] } {
  const entities = new Map<string, Entity>();
  const add = (entity: Entity): Reference => {
    entities.set(entity['@id'], entity);
    return ref(entity['@id']);
  };
  const tasks = nodes.filter(isTask);
  const byId = new Map<string, LineageNode>(nodes.map((node) => [node.id, node]));
  const formal = new FormalParameters();

  const dataEntity = (path: string, isFolder: boolean, more: Record<string, unknown>): Reference =>
    add({
      '@id': uri(path),
      '@type': isFolder ? 'Dataset' : 'File',
      ...(isFolder ? {} : { encodingFormat: encodingOf(path) }),
      ...more,
    });
  const artifactOf = (node: LineageTask, output: string): Reference =>
    ref(uri(artifactPath(node, output, node.outputs[output]!)));
  const sourceOf = (node: LineageSource): Reference => ref(uri(sourcePath(node, folders.has(sourcePath(node, false)))));

  for (const node of nodes) {
    if (isTask(node)) {
      for (const [output, artifact] of Object.entries(node.outputs)) {
        dataEntity(artifactPath(node, output, artifact), artifact.kind === 'folder', {
          name: `${output} of ${node.task}`,
          sha256: artifact.digest,
          contentSize: String(artifact.bytes),
        });
      }
    } else {
      const isFolder = folders.has(sourcePath(node, false));
      dataEntity(sourcePath(node, isFolder), isFolder, { name: node.path, sha256: node.id });
    }
  }

  const engine = add({
    '@id': '#pipe',
    '@type': 'SoftwareApplication',
    name: 'pipe',
    softwareVersion: version,
    description: 'Runs experiments written as graphs, cached by content.',
  });
  const language = add({ '@id': '#pipe-pipeline', '@type': 'ComputerLanguage', name: 'pipe pipeline', version });

  const actions = tasks.toReversed().map((node) => {
    const tool = toolOf(node);
    const taken = edges
      .filter(({ to }) => to === node.id)
      .map((edge) => {
        const from = byId.get(edge.from)!;
        const entity = isTask(from) ? artifactOf(from, edge.artifact!) : sourceOf(from);
        formal.note(tool, 'input', edge.input, entity, String(entities.get(entity['@id'])!['@type']));
        return entity;
      });
    const given = Object.entries(node.params).map(([parameter, value]) => {
      const entity = add({
        '@id': `#param-${node.id.slice(0, 12)}-${encodeURIComponent(parameter)}`,
        '@type': 'PropertyValue',
        name: parameter,
        value: typeof value === 'object' ? JSON.stringify(value) : value,
      });
      formal.note(tool, 'input', parameter, entity, 'PropertyValue');
      return entity;
    });
    const made = Object.keys(node.outputs).map((output) => {
      const entity = artifactOf(node, output);
      formal.note(tool, 'output', output, entity, String(entities.get(entity['@id'])!['@type']));
      return entity;
    });
    const action = add({
      '@id': `#run-${node.id.slice(0, 16)}`,
      '@type': 'CreateAction',
      name: node.task,
      description: `One execution of ${toolName(node)} on ${node.host.name} (${node.host.cpu}, node ${node.host.node}).`,
      instrument: ref(tool),
      object: distinct([...taken, ...given]),
      result: distinct(made),
      startTime: time(node.startedAt),
      endTime: time(endOf(node)),
      actionStatus: completed,
    });
    return { node, tool, action };
  });

  const steps = new Map<string, Set<string>>();
  const controls = actions.map(({ node, tool, action }) => {
    const step = `#step-${encodeURIComponent(stageOf(node))}`;
    steps.set(step, (steps.get(step) ?? new Set()).add(tool));
    return add({
      '@id': `#control-${node.id.slice(0, 16)}`,
      '@type': 'ControlAction',
      name: `orchestrate ${node.task}`,
      instrument: ref(step),
      object: action,
      actionStatus: completed,
    });
  });
  for (const [position, [step, tools]] of [...steps].entries()) {
    add({
      '@id': step,
      '@type': 'HowToStep',
      name: decodeURIComponent(step.slice('#step-'.length)),
      position: String(position + 1),
      workExample: [...tools].map(ref),
    });
  }

  const tools = new Map(actions.map(({ tool, node }) => [tool, node]));
  for (const [id, node] of tools) {
    add({
      '@id': id,
      '@type': 'SoftwareSourceCode',
      name: toolName(node),
      ...(node.code === null ? {} : { version: `sha256:${node.code.digest}` }),
      input: formal.of(id, 'input'),
      output: formal.of(id, 'output'),
    });
  }
  for (const parameter of formal.entities()) add(parameter);
  for (const [entity, parameters] of formal.examples())
    entities.set(entity, { ...entities.get(entity)!, exampleOfWork: parameters });

  const [main, ...included] = pipelineFiles.map((path) => uri(pipelinePath(path, projectRoot)));
  for (const file of included) add({ '@id': file, '@type': 'File', name: file, encodingFormat: 'text/yaml' });
  const workflow = add({
    '@id': main!,
    '@type': ['File', 'SoftwareSourceCode', 'ComputationalWorkflow', 'HowTo'],
    name,
    description: 'The pipeline as it lay in the project when this crate was written.',
    encodingFormat: 'text/yaml',
    programmingLanguage: language,
    step: [...steps.keys()].map(ref),
    hasPart: [...tools.keys()].map(ref),
  });

  const top = byId.get(root) as LineageTask;
  const results = Object.keys(top.outputs).map((output) => artifactOf(top, output));
  const sources = nodes.filter((node) => !isTask(node)).map((node) => sourceOf(node as LineageSource));
  const whole = add({
    '@id': '#workflow-run',
    '@type': 'CreateAction',
    name: `run of ${name}`,
    description: `What led to ${target}.`,
    instrument: workflow,
    object: sources,
    result: results,
    startTime: time(tasks.map(({ startedAt }) => startedAt).sort()[0]!),
    endTime: time(tasks.map(endOf).sort().at(-1)!),
    actionStatus: completed,
  });
  const organised = add({
    '@id': '#organize',
    '@type': 'OrganizeAction',
    name: `orchestrate ${name}`,
    instrument: engine,
    object: controls,
    result: whole,
    actionStatus: completed,
  });

  for (const [id, title, profileVersion] of profiles)
    add({ '@id': id, '@type': 'CreativeWork', name: title, version: profileVersion });
  const isSpdx = /^[A-Za-z0-9.+-]+$/.test(license);
  const licensed = isSpdx
    ? add({ '@id': `https://spdx.org/licenses/${license}`, '@type': 'CreativeWork', name: license })
    : license;
  const data = [...entities.values()].filter((entity) =>
    [entity['@type']].flat().some((type) => type === 'File' || type === 'Dataset'),
  );
  const dataset: Entity = {
    '@id': './',
    '@type': 'Dataset',
    name: `${target}, with all that led to it`,
    description: `An artifact of the pipeline ${name}, the files that it was computed from, and a record of each execution.`,
    datePublished: new Date().toISOString(),
    license: licensed,
    conformsTo: profiles.map(([id]) => ref(id)),
    mainEntity: workflow,
    hasPart: data.map((entity) => ref(entity['@id'])),
    mentions: [whole, organised, ...actions.map(({ action }) => action)],
  };
  const descriptor: Entity = {
    '@id': 'ro-crate-metadata.json',
    '@type': 'CreativeWork',
    about: ref('./'),
    conformsTo: [ref('https://w3id.org/ro/crate/1.1'), ref('https://w3id.org/workflowhub/workflow-ro-crate/1.0')],
  };
  return {
    '@context': ['https://w3id.org/ro/crate/1.1/context', { sha256: 'https://w3id.org/ro/terms/workflow-run#sha256' }],
    '@graph': [descriptor, dataset, ...entities.values()].map(compacted),
  };
}

/** The formal parameters of tools: each with the values and files that it stood for. */
class FormalParameters {
  readonly #known = new Map<
    string,
    { tool: string; way: 'input' | 'output'; name: string; type: string; of: Set<string> }
  >();

  note(tool: string, way: 'input' | 'output', name: string, example: Reference, type: string): void {
    const id = `${tool}-${way}-${encodeURIComponent(name)}`;
    const parameter = this.#known.get(id) ?? { tool, way, name, type, of: new Set<string>() };
    parameter.of.add(example['@id']);
    this.#known.set(id, parameter);
  }

  of(tool: string, way: 'input' | 'output'): Reference[] {
    return [...this.#known].flatMap(([id, known]) => (known.tool === tool && known.way === way ? [ref(id)] : []));
  }

  entities(): Entity[] {
    return [...this.#known].map(([id, { name, type, of }]) => ({
      '@id': id,
      '@type': 'FormalParameter',
      additionalType: type,
      name,
      workExample: [...of].map(ref),
    }));
  }

  /** Entity -> the parameters that it stood for. */
  examples(): Map<string, Reference[]> {
    const found = new Map<string, Reference[]>();
    for (const [id, { of }] of this.#known)
      for (const entity of of) found.set(entity, [...(found.get(entity) ?? []), ref(id)]);
    return found;
  }
}

/** RO-Crate wants a list of one written as the one, and an empty list left out. */
function compacted(entity: Entity): Entity {
  const properties = Object.entries(entity).flatMap(([property, value]) => {
    if (!Array.isArray(value) || value.length > 1) return [[property, value]];
    return value.length === 1 ? [[property, value[0]]] : [];
  });
  return Object.fromEntries(properties) as Entity;
}

function distinct(references: readonly Reference[]): Reference[] {
  return [...new Map(references.map((reference) => [reference['@id'], reference])).values()];
}

function stageOf({ task }: LineageTask): string {
  return task.replace(/\[.*/s, '');
}

/** A tool is a stage module at a state of its code, or a command. */
function toolOf(node: LineageTask): string {
  const version = node.code === null ? stageOf(node) : node.code.digest.slice(0, 12);
  return `#tool-${encodeURIComponent('uses' in node.action ? node.action.uses : 'command')}-${version}`;
}

function toolName({ action }: LineageTask): string {
  return 'uses' in action ? action.uses : [action.run].flat().join(' ');
}

/** The media type of a file by its name. */
function encodingOf(path: string): string {
  const types: Readonly<Record<string, string>> = {
    '.csv': 'text/csv',
    '.html': 'text/html',
    '.json': 'application/json',
    '.jsonl': 'application/x-ndjson',
    '.md': 'text/markdown',
    '.png': 'image/png',
    '.svg': 'image/svg+xml',
    '.txt': 'text/plain',
    '.yaml': 'text/yaml',
  };
  return types[extname(path)] ?? 'application/octet-stream';
}
