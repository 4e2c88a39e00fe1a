import { appendFileSync, chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { collectGarbage, planGarbage } from '../engine/gc.ts';
import type { Graph, Task } from '../engine/graph.ts';
import { lineage } from '../engine/lineage.ts';
import { makePlan } from '../engine/plan.ts';
import { latestRun, readRun, taskLog, writeRun } from '../engine/runs.ts';
import { verify } from '../engine/verify.ts';
import { reasonLines } from '../engine/why.ts';
import { openWorkspace, type Workspace } from '../engine/workspace.ts';
import { echo, from, makeGraph, makeProject, makeTask, run, stageText, type TestProject } from './support/engine.ts';

let project: TestProject;
beforeEach(() => {
  project = makeProject({ 'stages/echo.ts': echo, 'data/raw.txt': 'raw' });
});
afterEach(() => project.remove());

const task = (id: string, more: Partial<Task> = {}) => makeTask(project.root, id, 'echo', more);

/** raw.txt -> a -> b -> table, published as tables/table.csv. */
function chain(more: Partial<Task> = {}): Graph {
  const raw = join(project.root, 'data/raw.txt');
  const tasks = [
    task('a', { inputs: { from: { kind: 'file', path: raw } } }),
    task('b', { inputs: { from: from('a') }, ...more }),
    task('table', { inputs: { from: from('b') } }),
  ];
  return makeGraph(project.root, tasks, [{ path: 'tables/table.csv', task: 'table', artifact: 'out' }]);
}

async function opened<T>(use: (workspace: Workspace) => T | Promise<T>): Promise<T> {
  const workspace = openWorkspace(project.root);
  try {
    return await use(workspace);
  } finally {
    await workspace.close();
  }
}

const why = (graph: Graph, id: string) =>
  opened(async (workspace) => {
    const { tasks } = await makePlan(workspace, graph, { targets: [id] });
    const planned = tasks.find(({ task }) => task.id === id)!;
    return 'reason' in planned ? planned.reason : planned.state;
  });

test('why names the parameter, the source and the source file, old and new', async () => {
  expect(await why(chain(), 'a')).toEqual({ kind: 'new' });
  await run(chain());
  expect(await why(chain(), 'b')).toBe('fresh');
  const reason = await why(chain({ params: { text: 'B' } }), 'b');
  expect(reason).toMatchObject({
    kind: 'changed',
    differences: [{ what: 'parameter', name: 'text', old: 'b', new: 'B' }],
  });
  if (typeof reason === 'string') throw new Error('expected a reason');
  expect(reasonLines(reason)).toEqual(['parameter text changed: "b" -> "B"']);
  expect(await why(chain({ params: { text: 'B' } }), 'table')).toMatchObject({ kind: 'upstream', tasks: ['b'] });

  project.write('data/raw.txt', 'other');
  expect(await why(chain(), 'a')).toMatchObject({ differences: [{ what: 'input', name: 'from' }] });
  project.write('data/raw.txt', 'raw');

  project.write('stages/echo.ts', `${echo}console.log('edited');\n`);
  const edited = await why(chain(), 'a');
  expect(edited).toMatchObject({ differences: [{ what: 'code', name: 'stages/echo.ts' }] });
});

test('why compares with what the task last was in this pipeline, though a run that was killed wrote nothing down', async () => {
  await run(chain());
  rmSync(join(project.root, 'cache/runs'), { recursive: true });
  expect(await why(chain({ params: { text: 'B' } }), 'b')).toMatchObject({
    kind: 'changed',
    differences: [{ name: 'text' }],
  });
});

test('lineage walks from a published file back to the raw source, with digests, code and host', async () => {
  await run(chain());
  const graph = await opened((workspace) => lineage(workspace, 'results/test/tables/table.csv'));
  const byName = graph.nodes.map((node) => (node.kind === 'task' ? node.task : node.path));
  expect(byName).toEqual(['table', 'b', 'a', 'data/raw.txt']);
  expect(graph.edges.map(({ input }) => input)).toEqual(['from', 'from', 'from']);
  const [first, , , last] = graph.nodes;
  if (first?.kind !== 'task' || last?.kind !== 'source') throw new Error('not the chain');
  expect(Object.keys(first.code!.listing)).toEqual(expect.arrayContaining(['stages/echo.ts']));
  expect(first.host.cores).toBeGreaterThan(0);
  // sha256 of "raw", from `printf raw | sha256sum`.
  expect(last.id).toBe('d7439bee24773bcbfa2d0a97947ee36227b10d1022b1a55847e928965bb6bfde');
  const same = await opened((workspace) => lineage(workspace, 'table'));
  expect(same.nodes).toEqual(graph.nodes);
  const byDigest = await opened((workspace) => lineage(workspace, first.outputs.out!.digest.slice(0, 12)));
  expect(byDigest.root).toBe(first.id);
  await expect(opened((workspace) => lineage(workspace, 'results/test/other.csv'))).rejects.toThrow(
    'was not published',
  );
});

test('verify finds a flipped byte, puts blob and record aside, and says what is computed again', async () => {
  await run(chain());
  const blob = await opened(({ store }) => {
    const entry = [...store.catalog.all()].find(({ task }) => task === 'b')!;
    return store.blobPath(entry.outputs.out!.digest);
  });
  chmodSync(blob, 0o644);
  const content = readFileSync(blob);
  content[0]! ^= 1;
  writeFileSync(blob, content);
  const report = await opened((workspace) => verify(workspace));
  expect(report.damaged.map(({ path }) => path)).toContain(blob);
  expect(report.recompute.map(({ task }) => task)).toEqual(['b']);
  expect((await opened((workspace) => verify(workspace))).damaged).toEqual([]);
  expect((await run(chain())).executed).toEqual(['b']);
});

test('verify finds a record whose manifest was edited, and one that is cut off', async () => {
  await run(chain());
  const paths = await opened(({ store }) =>
    ['a', 'b'].map((id) => {
      const { key } = [...store.catalog.all()].find(({ task }) => task === id)!;
      return join(project.root, 'cache/ac', key.slice(0, 2), key);
    }),
  );
  writeFileSync(paths[0]!, readFileSync(paths[0]!, 'utf8').replace('"text": "a"', '"text": "A"'));
  writeFileSync(paths[1]!, readFileSync(paths[1]!, 'utf8').slice(0, 100));
  const report = await opened((workspace) => verify(workspace));
  expect(report.recompute.map(({ task }) => task).sort()).toEqual(['a', 'b']);
  expect((await run(chain())).executed).toEqual(['a', 'b']);
});

/** Where the blob of a file lies that a task wrote: of its output, or of a file in the folder that is its output. */
const blobOf = (id: string, file?: string) =>
  opened(({ store }) => {
    const { digest } = [...store.catalog.all()].find((entry) => entry.task === id)!.outputs.out!;
    return store.blobPath(
      file === undefined ? digest : store.entriesOf(digest).find(({ path }) => path === file)!.digest!,
    );
  });

test('a folder that has lost a file is computed again', async () => {
  project.write(
    'stages/folder.ts',
    stageText(
      "    mkdirSync(outputs.out); writeFileSync(outputs.out + '/one', params.text); writeFileSync(outputs.out + '/two', '2');",
      "import { mkdirSync } from 'node:fs';",
      "{ out: { description: 'folder', path: 'out' } }",
    ),
  );
  const folder = makeTask(project.root, 'folder', 'folder', { outputs: { out: 'out' } });
  const reader = makeTask(project.root, 'reader', 'reader', { inputs: { from: from('folder') } });
  project.write('stages/reader.ts', stageText("    writeFileSync(outputs.out, readFileSync(inputs.from + '/one'));"));
  await run(makeGraph(project.root, [folder]));
  rmSync(await blobOf('folder', 'one'));
  const { executed, outcome } = await run(makeGraph(project.root, [folder, reader]));
  expect(outcome.failures).toEqual([]);
  expect(executed).toEqual(['folder', 'reader']);
});

test('an artifact that is damaged in the store is not published; the run fails and says so, and the next one computes it again', async () => {
  await run(chain());
  const published = join(project.root, 'results/test/tables/table.csv');
  const blob = await blobOf('table');
  chmodSync(blob, 0o644);
  appendFileSync(blob, 'x');
  rmSync(published);
  const { outcome, events } = await run(chain());
  expect(outcome.status).toBe('failed');
  expect(outcome.failures).toMatchObject([{ task: 'table', failure: { kind: 'store' } }]);
  expect(events.map(({ type }) => type)).toContain('quarantined');
  expect(existsSync(published)).toBe(false);
  expect((await run(chain())).executed).toEqual(['table']);
  expect(readFileSync(published, 'utf8')).toBe('rawabtable');
});

test('a memo that is damaged or gone costs time and nothing else', async () => {
  await run(chain());
  const memo = join(project.root, 'cache/memo');
  for (const name of readdirSync(memo)) if (name.endsWith('.json')) appendFileSync(join(memo, name), '}');
  expect((await run(chain())).executed).toEqual([]);
  rmSync(memo, { recursive: true });
  expect((await run(chain())).executed).toEqual([]);
});

test('gc keeps what the newest runs name, and never a record without its blobs', async () => {
  await run(chain());
  await run(chain({ params: { text: 'B' } }));
  expect(await opened((workspace) => planGarbage(workspace, {}))).toMatchObject({ records: [], blobs: [] });
  await opened((workspace) => {
    const plan = planGarbage(workspace, { keepRuns: 1 });
    expect(plan.records.map((entry) => entry.task).sort()).toEqual(['b', 'table']);
    expect(plan.freedBytes).toBeGreaterThan(0);
    expect(collectGarbage(workspace, { keepRuns: 1 })).toEqual(plan);
  });
  expect(await opened((workspace) => verify(workspace))).toMatchObject({ damaged: [], records: 3 });
  expect((await run(chain({ params: { text: 'B' } }))).executed).toEqual([]);
  expect((await run(chain())).executed).toEqual(['b', 'table']);
});

test('gc by size removes the longest unused first', async () => {
  await run(makeGraph(project.root, [task('old', { params: { text: 'o'.repeat(5000) } })]));
  await run(makeGraph(project.root, [task('new', { params: { text: 'n'.repeat(5000) } })]));
  const left = await opened((workspace) => {
    const { keptBytes } = planGarbage(workspace, {});
    const plan = planGarbage(workspace, { maxBytes: keptBytes - 1 });
    expect(plan.records.map((entry) => entry.task)).toEqual(['old']);
    collectGarbage(workspace, { maxBytes: keptBytes - 1 });
    return [...workspace.store.catalog.all()].map((entry) => entry.task);
  });
  expect(left).toEqual(['new']);
});

test('a run that changes nothing is not written down again', async () => {
  await run(chain());
  const first = latestRun(join(project.root, 'cache'))!;
  expect(first.tasks.table).toMatchObject({ outcome: 'executed' });
  await run(chain());
  expect(readdirSync(join(project.root, 'cache/runs')).filter((name) => name.endsWith('.json'))).toEqual([
    `${first.id}.json`,
  ]);
});

test('the log of a task is that of the pipeline that is asked for, though its run was killed', async () => {
  const graphOf = (name: string) => ({ ...makeGraph(project.root, [task('same', { params: { text: name } })]), name });
  for (const name of ['one', 'two']) await run(graphOf(name));
  const runOf = (pipeline?: string) =>
    opened(({ store }) => taskLog(store, 'same', pipeline === undefined ? {} : { pipeline })?.run);
  const [one, two] = [await runOf('one'), await runOf('two')];
  expect(one).toContain('-one-');
  expect(two).toContain('-two-');
  expect(await runOf()).toBe(two);
  expect(await runOf('three')).toBe(undefined);
  // A run that is killed has written down that it began, and not what became of its tasks.
  for (const id of [one!, two!]) {
    const cache = join(project.root, 'cache');
    writeRun(cache, { ...readRun(cache, id)!, status: 'running', tasks: {} });
  }
  expect(await runOf('one')).toBe(one);
  expect(await runOf('two')).toBe(two);
});
