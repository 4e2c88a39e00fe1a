/** A project for benchmarks: two stages over one axis, and a store in which every task has run. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identify, readFacts } from '../engine/assess.ts';
import type { Graph } from '../engine/graph.ts';
import { openGraph } from '../engine/graphs.ts';
import { canonicalJson } from '../engine/manifest.ts';
import type { Result } from '../engine/publish.ts';
import type { Artifact } from '../engine/record.ts';
import { openWorkspace, type Workspace } from '../engine/workspace.ts';

const stage = `import { writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'writes a number',
  params: { n: { type: 'string', description: 'number' } },
  inputs: { from: { description: 'anything', optional: true } },
  outputs: { out: { description: 'text', path: 'out.txt' } },
  run: ({ params, outputs }) => writeFileSync(outputs.out, params.n),
});
`;

/** The pipeline's path in the project. */
export const pipeline = 'pipelines/bench.yaml';

/**
 * Makes a project whose pipeline has `tasks` tasks, each of the second half taking the output of one of the first.
 * @param home the folder that its root is made in.
 * @returns the root.
 */
export function makeProject(home: string, tasks: number): string {
  const root = mkdtempSync(join(home, 'project-'));
  for (const folder of ['stages', 'pipelines']) mkdirSync(join(root, folder));
  writeFileSync(join(root, 'stages/number.ts'), stage);
  writeFileSync(join(root, pipeline), pipelineText(tasks / 2));
  return root;
}

/** Works in a temporary folder, which is removed afterwards. @param parent where it is made. */
export async function inFolder<T>(work: (folder: string) => Promise<T>, parent = tmpdir()): Promise<T> {
  const folder = mkdtempSync(join(parent, 'pipe-bench-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Rows and columns of a matrix of so many values: two axes, because a file may not list a hundred thousand. */
export function shapeOf(values: number): readonly [rows: number, columns: number] {
  const rows = Math.min(values, 250);
  return [rows, values / rows];
}

/** A matrix of that shape, as YAML: axes `a` and `b`. */
export function axesText([rows, columns]: readonly [number, number]): string {
  const list = (count: number) => `[${Array.from({ length: count }, (_, n) => n).join(', ')}]`;
  return `{ a: ${list(rows)}, b: ${list(columns)} }`;
}

/** @param values at most 250, or a multiple of it. */
function pipelineText(values: number): string {
  const number = `
    uses: number
    matrix: ${axesText(shapeOf(values))}
    with: { n: "\${{ matrix.a }}-\${{ matrix.b }}" }`;
  return `name: bench\nstages:\n  first:${number}\n  second:${number}\n    in: { from: first.out }\n`;
}

/** Opens a project and its pipeline, and closes it after the work. */
export async function withGraph<T>(root: string, work: (workspace: Workspace, graph: Graph) => Promise<T>): Promise<T> {
  const workspace = openWorkspace(root);
  try {
    return await work(workspace, await openGraph(workspace, { file: pipeline }));
  } finally {
    await workspace.close();
  }
}

/** Puts a record for every task into the store, as if each had run. */
export async function recordAll(workspace: Workspace, graph: Graph): Promise<void> {
  const { store } = workspace;
  const facts = await readFacts(workspace, graph.tasks);
  const results = new Map<string, Result>();
  let pending: Promise<void>[] = [];
  for (const task of graph.tasks) {
    const { manifest, key } = identify(workspace, task, facts, (id) => results.get(id)!);
    const deposit = store.deposit();
    for (const { listing } of facts.code.values()) deposit.putBytes(canonicalJson(listing));
    const content = `output of ${task.id}`;
    const out: Artifact = { kind: 'file', digest: deposit.putBytes(content), bytes: content.length };
    results.set(task.id, { key, outputs: { out } });
    const committed = deposit.commit({
      key,
      manifest,
      outputs: { out },
      log: deposit.putBytes(''),
      startedAt: new Date(0).toISOString(),
      seconds: 1,
      host: { name: 'bench', platform: 'bench', cpu: 'bench', cores: 1, node: process.version },
      measurements: {},
      run: 'bench',
      task: task.id,
      producers: {},
      sources: {},
    });
    pending.push(committed);
    // Waiting for the disk once for many is many times faster than for each.
    if (pending.length < 64) continue;
    await Promise.all(pending);
    pending = [];
  }
  await Promise.all(pending);
}
