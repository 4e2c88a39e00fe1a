/** The graph of a run as a picture: stages with the count of their tasks, left to right from the sources to the report. */
import { Graph, layout } from '@dagrejs/dagre';
import { type Html, html, trusted } from './html.ts';
import type { PageRecord } from './lineage.ts';

interface Box {
  readonly stage: string;
  readonly tasks: number;
  /** A record of it, which a click shows. */
  readonly record: number;
}

const size = { width: 132, height: 40 } as const;

/** The graph as SVG. Its words are in the list that goes with it, so that nobody needs the picture. */
export function graphPicture(records: readonly PageRecord[]): Html {
  const boxes = boxesOf(records);
  const graph = new Graph();
  graph.setGraph({ rankdir: 'LR', nodesep: 14, ranksep: 34, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { stage } of boxes.values()) graph.setNode(stage, { ...size });
  for (const [from, to] of arrowsOf(records)) graph.setEdge(from, to);
  layout(graph);
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  const arrows = graph.edges().map((edge) => {
    const { points } = graph.edge(edge) as { points: readonly { x: number; y: number }[] };
    return html`<path d="${curve(points)}"/>`;
  });
  const nodes = [...boxes.values()].map(({ stage, tasks, record }) => {
    const { x, y } = graph.node(stage) as { x: number; y: number };
    const [left, top] = [x - size.width / 2, y - size.height / 2];
    return html`<g class="node" data-from="${record}"><rect x="${round(left)}" y="${round(top)}" width="${size.width}" height="${size.height}" rx="8"/><text x="${round(x)}" y="${round(y - 3)}">${stage}</text><text class="count" x="${round(x)}" y="${round(y + 12)}">${tasks === 1 ? '1 task' : `${tasks} tasks`}</text></g>`;
  });
  return html`<svg class="graph" role="img" aria-label="${graphText(records)}" width="${Math.ceil(width)}" height="${Math.ceil(height)}" viewBox="0 0 ${Math.ceil(width)} ${Math.ceil(height)}">${trusted('<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>')}<g class="arrows">${arrows}</g>${nodes}</svg>`;
}

/** The graph in a sentence for each stage: what reads what. */
export function graphText(records: readonly PageRecord[]): string {
  const arrows = [...arrowsOf(records)];
  return [...boxesOf(records).values()]
    .map(({ stage, tasks }) => {
      const from = arrows.filter(([, to]) => to === stage).map(([source]) => source);
      return `${stage} (${tasks})${from.length === 0 ? '' : ` from ${from.join(', ')}`}`;
    })
    .join('; ');
}

const stageOf = ({ task }: PageRecord) => task.replace(/\[.*/, '');

function boxesOf(records: readonly PageRecord[]): ReadonlyMap<string, Box> {
  const boxes = new Map<string, Box>();
  for (const [record, one] of records.entries()) {
    const stage = stageOf(one);
    const known = boxes.get(stage);
    boxes.set(stage, { stage, tasks: (known?.tasks ?? 0) + 1, record: known?.record ?? record });
  }
  return boxes;
}

function arrowsOf(records: readonly PageRecord[]): Iterable<readonly [string, string]> {
  const arrows = new Map<string, readonly [string, string]>();
  for (const record of records) {
    for (const place of Object.values(record.inputs).flat()) {
      const arrow = [stageOf(records[place]!), stageOf(record)] as const;
      if (arrow[0] !== arrow[1]) arrows.set(arrow.join(' '), arrow);
    }
  }
  return arrows.values();
}

/** A smooth line through points: each inner one pulls on the line, the ends are touched. */
function curve(points: readonly { readonly x: number; readonly y: number }[]): string {
  const at = ({ x, y }: { x: number; y: number }) => `${round(x)} ${round(y)}`;
  const middles = points.slice(1, -2).map((point, i) => {
    const next = points[i + 2]!;
    return `Q${at(point)} ${at({ x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 })}`;
  });
  const last = points.length > 2 ? `Q${at(points.at(-2)!)} ${at(points.at(-1)!)}` : `L${at(points.at(-1)!)}`;
  return `M${at(points[0]!)}${middles.join('')}${last}`;
}

const round = (value: number) => String(Math.round(10 * value) / 10);
