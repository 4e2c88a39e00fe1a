/** What the engine itself costs: no-op runs and status as whole processes, a trivial task in a warm worker, hashing. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identify, readFacts } from '../engine/assess.ts';
import { digestFile } from '../engine/digest.ts';
import type { Graph } from '../engine/graph.ts';
import { openGraph } from '../engine/graphs.ts';
import { canonicalJson } from '../engine/manifest.ts';
import type { Artifact } from '../engine/record.ts';
import { runPipeline } from '../engine/run.ts';
import { openWorkspace, type Workspace } from '../engine/workspace.ts';

export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly target: string;
}

const stage = `import { writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'writes a number',
  params: { n: { type: 'integer', description: 'number' } },
  inputs: { from: { description: 'anything', optional: true } },
  outputs: { out: { description: 'text', path: 'out.txt' } },
  run: ({ params, outputs }) => writeFileSync(outputs.out, String(params.n)),
});
`;

/** A project with a pipeline of two stages over one axis: `tasks` in all, each of the second half taking one of the first. */
function makeProject(tasks: number): string {
  const root = mkdtempSync(join(tmpdir(), 'pipe-bench-'));
  for (const folder of ['stages', 'pipelines']) mkdirSync(join(root, folder));
  writeFileSync(join(root, 'stages/number.ts'), stage);
  const axis = Array.from({ length: tasks / 2 }, (_, n) => n).join(', ');
  writeFileSync(
    join(root, 'pipelines/bench.yaml'),
    `name: bench
stages:
  first:
    uses: number
    matrix: { n: [${axis}] }
    with: { n: "\${{ matrix.n }}" }
  second:
    uses: number
    matrix: { n: [${axis}] }
    with: { n: "\${{ matrix.n }}" }
    in: { from: first.out }
`,
  );
  return root;
}

/** Puts a record for every task into the store, as if each had run. */
async function recordAll(workspace: Workspace, graph: Graph): Promise<void> {
  const { store } = workspace;
  const facts = await readFacts(workspace, graph.tasks);
  const outputs = new Map<string, Record<string, Artifact>>();
  for (const task of graph.tasks) {
    const { manifest, key } = identify(task, facts, (id, name) => outputs.get(id)![name]!);
    const deposit = store.deposit();
    for (const { listing } of facts.code.values()) deposit.putBytes(canonicalJson(listing));
    const content = `output of ${task.id}`;
    const out: Artifact = { kind: 'file', digest: deposit.putBytes(content), bytes: content.length };
    outputs.set(task.id, { out });
    await deposit.commit({
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
  }
}

/** The median of several wall-clock times of a command, in milliseconds. */
function wholeProcess(words: readonly string[], cwd: string, rounds: number): number {
  const times = Array.from({ length: rounds }, () => {
    const begun = performance.now();
    execFileSync(process.execPath, words, { cwd, stdio: 'ignore' });
    return performance.now() - begun;
  });
  return times.sort((a, b) => a - b)[Math.floor(rounds / 2)]!;
}

/** @param pipe the built command, `dist/pipe.mjs`. */
export async function benchEngine(pipe: string): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const tasks of [10, 1000, 10_000]) {
    const root = makeProject(tasks);
    try {
      const workspace = openWorkspace(root);
      await recordAll(workspace, await openGraph(workspace, { file: 'pipelines/bench.yaml' }));
      await workspace.close();
      // Marks are trusted once they are older than a clock tick.
      await new Promise((resolve) => setTimeout(resolve, 200));
      wholeProcess([pipe, 'status', 'pipelines/bench.yaml'], root, 2);
      const value = wholeProcess([pipe, 'status', 'pipelines/bench.yaml'], root, 5);
      figures.push({
        name: `status, ${tasks} tasks, nothing to do`,
        value,
        unit: 'ms',
        target: tasks === 10_000 ? '<= 600' : '',
      });
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  }

  const root = makeProject(30);
  try {
    const run = [pipe, 'run', 'pipelines/bench.yaml'];
    wholeProcess(run, root, 1);
    await new Promise((resolve) => setTimeout(resolve, 200));
    wholeProcess(run, root, 2);
    figures.push({
      name: 'run, 30 tasks, nothing to do',
      value: wholeProcess(run, root, 5),
      unit: 'ms',
      target: '<= 400',
    });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }

  figures.push({ name: 'one trivial task in a warm worker', value: await trivialTask(), unit: 'ms', target: '<= 2' });
  figures.push({
    name: 'sha256 of a file of 1 GiB, against node:crypto in memory',
    value: await hashing(),
    unit: 'x',
    target: '>= 0.9',
  });
  return figures;
}

/** Milliseconds a task of 200 that run one after the other in one worker, from its start to its record. */
async function trivialTask(): Promise<number> {
  const root = makeProject(400);
  try {
    const workspace = openWorkspace(root);
    const graph = await openGraph(workspace, { file: 'pipelines/bench.yaml' });
    const times: number[] = [];
    let begun = 0;
    await runPipeline(workspace, graph, { jobs: 1 }, (event) => {
      if (event.type === 'task-done') {
        const now = performance.now();
        times.push(now - begun);
        begun = now;
      }
    });
    await workspace.close();
    return times.slice(20).sort((a, b) => a - b)[Math.floor((times.length - 20) / 2)]!;
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** How fast a file of 1 GiB is read and digested, as a share of what node:crypto takes to digest as much that is in memory. */
async function hashing(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'pipe-bench-'));
  try {
    const path = join(folder, 'file');
    const chunk = Buffer.alloc(4 << 20, 'content');
    const file = openSync(path, 'w');
    for (let i = 0; i < 256; i++) writeSync(file, chunk);
    closeSync(file);
    const ours: number[] = [];
    const bare: number[] = [];
    for (let round = 0; round < 3; round++) {
      let begun = performance.now();
      await digestFile(path);
      ours.push(performance.now() - begun);
      begun = performance.now();
      const digest = createHash('sha256');
      for (let i = 0; i < 256; i++) digest.update(chunk);
      digest.digest();
      bare.push(performance.now() - begun);
    }
    return Math.min(...bare) / Math.min(...ours);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
