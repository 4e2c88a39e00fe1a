/** `pipe lineage`: the chain of tasks and sources behind a published file, a task or a digest. */
import { UsageError } from '../engine/errors.ts';
import { type LineageGraph, type LineageNode, lineage as lineageOf } from '../engine/lineage.ts';
import { actionText } from '../engine/manifest.ts';
import { dotText } from './dag.ts';
import type { ExportFormat } from './lineage_export.ts';
import { openFile, withWorkspace } from './request.ts';
import { columns, count, duration, paint, print, printJson, wrap } from './text.ts';

export type LineageFormat = 'text' | 'json' | 'dot' | ExportFormat;

export interface LineageOptions {
  readonly format: LineageFormat;
  readonly out?: string;
}

/**
 * @param file the pipeline whose task is meant; any if not given.
 * @throws UsageError when the target names nothing that is recorded.
 */
export function lineage(target: string, file: string | undefined, { format, out }: LineageOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const pipeline = file === undefined ? {} : { pipeline: (await openFile(workspace, file, {})).name };
    const graph = lineageOf(workspace, target, { cwd: process.cwd(), ...pipeline });
    switch (format) {
      case 'prov':
      case 'openlineage':
      case 'ro-crate':
        await (await import('./lineage_export.ts')).exportLineage(workspace, graph, format, out);
        return 0;
    }
    if (out !== undefined) throw new UsageError('--out goes with --format prov, openlineage and ro-crate');
    if (format === 'json') printJson(graph);
    else print(format === 'dot' ? asDot(graph) : asText(graph));
    return 0;
  });
}

/** The graph as a tree from the target to its sources; what was told once is only named again. */
function asText({ target, root, nodes, edges }: LineageGraph): string {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const told = new Set<string>();
  const lines = [paint('bold', target)];
  const tell = (id: string, via: string | null, indent: string): void => {
    const node = byId.get(id)!;
    const from = via === null ? '' : `${via}: `;
    if (told.has(id)) {
      lines.push(`${indent}${from}${nodeName(node)} (above)`);
      return;
    }
    told.add(id);
    const [first, ...rest] = describe(node);
    lines.push(`${indent}${from}${first}`, ...rest.map((line) => wrap(line, columns(), `${indent}  `)));
    for (const edge of edges) if (edge.to === id) tell(edge.from, edge.input, `${indent}    `);
  };
  tell(root, null, '  ');
  return lines.join('\n');
}

function nodeName(node: LineageNode): string {
  return node.kind === 'source' ? node.path : node.task;
}

function describe(node: LineageNode): readonly string[] {
  if (node.kind === 'source') return [`${paint('bold', node.path)}  sha256 ${node.id.slice(0, 16)}`];
  const { action, params, code, outputs, host, job, startedAt, seconds, measurements, run } = node;
  const lines = [
    `${paint('bold', node.task)}  key ${node.id.slice(0, 16)}`,
    `${actionText(action)}${code === null ? '' : `, code ${code.digest.slice(0, 16)} (${count(Object.keys(code.listing).length, 'file')} and packages)`}`,
  ];
  const given = Object.entries(params).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  if (given.length > 0) lines.push(given.join(' '));
  for (const [name, { digest, kind }] of Object.entries(outputs))
    lines.push(`-> ${name}: ${kind} ${digest.slice(0, 16)}`);
  const measured = Object.entries(measurements).map(([name, value]) => `${name} ${figure(value)}`);
  if (measured.length > 0) lines.push(`measured: ${measured.join(', ')}`);
  const machine = `${host.name} (${host.cpu}, node ${host.node})`;
  const as = job === null ? '' : `, job ${job.id} of ${job.cluster}`;
  lines.push(`${startedAt}, ${duration(seconds)} on ${machine}${as}, run ${run}`);
  return lines;
}

/** A measurement to four digits; whole numbers in full. */
function figure(value: number | string): string {
  return typeof value === 'string' || Number.isInteger(value) ? `${value}` : `${Number(value.toPrecision(4))}`;
}

function asDot({ nodes, edges }: LineageGraph): string {
  const lines = nodes.map((node) => {
    const shape = node.kind === 'source' ? 'note' : 'box';
    return `  ${dotText(node.id)} [shape=${shape}, label=${dotText(`${nodeName(node)}\n${node.id.slice(0, 12)}`)}];`;
  });
  const arrows = edges.map(({ from, to, input }) => `  ${dotText(from)} -> ${dotText(to)} [label=${dotText(input)}];`);
  return ['digraph lineage {', '  rankdir=LR;', ...lines, ...arrows, '}'].join('\n');
}
