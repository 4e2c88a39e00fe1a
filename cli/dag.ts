/** `pipe dag`: the graph of a pipeline as text, Mermaid, DOT or JSON. */
import type { Graph } from '../engine/graph.ts';
import { openFile, type RequestOptions, withWorkspace } from './request.ts';
import { columns, print, printJson, wrap } from './text.ts';

export type GraphFormat = 'text' | 'mermaid' | 'dot' | 'json';

export interface DagOptions extends RequestOptions {
  readonly format: GraphFormat;
  readonly tasks?: true;
}

/** A stage or a task, and what comes into it. */
interface DagNode {
  readonly name: string;
  readonly label: string;
  readonly from: readonly { readonly node: string; readonly artifact: string | null }[];
}

export function dag(file: string | undefined, options: DagOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const graph = await openFile(workspace, file, options);
    const nodes = options.tasks ? taskNodes(graph) : stageNodes(graph);
    if (options.format === 'json') printJson({ pipeline: graph.name, nodes });
    else print(WRITERS[options.format](nodes));
    return 0;
  });
}

const WRITERS = { text: asText, mermaid: asMermaid, dot: asDot } as const;

function taskNodes(graph: Graph): readonly DagNode[] {
  return graph.tasks.map(({ id, inputs, needs }) => {
    const from: { node: string; artifact: string | null }[] = needs.map((node) => ({ node, artifact: null }));
    for (const input of Object.values(inputs)) {
      if (input.kind === 'artifact') from.push({ node: input.task, artifact: input.artifact });
      else if (input.kind === 'all')
        for (const { task, artifact } of input.members) from.push({ node: task, artifact });
    }
    return { name: id, label: id, from };
  });
}

function stageNodes(graph: Graph): readonly DagNode[] {
  const stageOf = new Map(graph.tasks.map(({ id, stage }) => [id, stage]));
  const stages = new Map<string, { count: number; axes: Set<string>; from: Map<string, DagNode['from'][number]> }>();
  const tasks = taskNodes(graph);
  graph.tasks.forEach(({ stage, axes }, at) => {
    const known = stages.get(stage) ?? { count: 0, axes: new Set(), from: new Map() };
    stages.set(stage, known);
    known.count += 1;
    for (const axis in axes) known.axes.add(axis);
    for (const { node, artifact } of tasks[at]!.from) {
      const producer = stageOf.get(node)!;
      known.from.set(`${producer}.${artifact}`, { node: producer, artifact });
    }
  });
  return [...stages].map(([name, { count, axes, from }]) => {
    const label = axes.size === 0 ? name : `${name} (${count} ${[...axes].join(' x ')})`;
    return { name, label, from: [...from.values()] };
  });
}

function asText(nodes: readonly DagNode[]): string {
  return nodes
    .map(({ label, from }) => {
      const sources = from.map(({ node, artifact }) => (artifact === null ? node : `${node}.${artifact}`));
      const shown = sources.length > 12 ? [...sources.slice(0, 11), `and ${sources.length - 11} more`] : sources;
      return shown.length === 0 ? label : `${label}\n${wrap(`<- ${shown.join(', ')}`, columns(), '    ')}`;
    })
    .join('\n');
}

function asMermaid(nodes: readonly DagNode[]): string {
  const ids = new Map(nodes.map(({ name }, at) => [name, `n${at}`]));
  const lines = nodes.map(({ name, label }) => `  ${ids.get(name)}["${label.replaceAll('"', '#quot;')}"]`);
  const edges = nodes.flatMap(({ name, from }) =>
    from.map(
      ({ node, artifact }) => `  ${ids.get(node)} ${artifact === null ? '-.->' : `-->|${artifact}|`} ${ids.get(name)}`,
    ),
  );
  return ['flowchart LR', ...lines, ...edges].join('\n');
}

function asDot(nodes: readonly DagNode[]): string {
  const lines = nodes.map(({ name, label }) => `  ${dotText(name)} [label=${dotText(label)}];`);
  const edges = nodes.flatMap(({ name, from }) =>
    from.map(
      ({ node, artifact }) =>
        `  ${dotText(node)} -> ${dotText(name)} [${artifact === null ? 'style=dashed' : `label=${dotText(artifact)}`}];`,
    ),
  );
  return ['digraph pipeline {', '  rankdir=LR;', '  node [shape=box];', ...lines, ...edges, '}'].join('\n');
}

/** Text in DOT's double quotes. */
export function dotText(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}
