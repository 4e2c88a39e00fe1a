import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Graph, Task } from '../engine/graph.ts';
import { makePlan } from '../engine/plan.ts';
import { openWorkspace } from '../engine/workspace.ts';
import {
  echo,
  from,
  halfMade,
  makeGraph,
  makeProject,
  makeTask,
  run,
  stageText,
  type TestProject,
} from './support/engine.ts';

let project: TestProject;
beforeEach(() => {
  project = makeProject({ 'stages/echo.ts': echo });
});
afterEach(() => project.remove());

const task = (id: string, stage: string, more: Partial<Task> = {}) => makeTask(project.root, id, stage, more);
const graphOf = (...tasks: Task[]) => makeGraph(project.root, tasks);
const read = (path: string) => readFileSync(join(project.root, path), 'utf8');

async function planStates(graph: Graph): Promise<Record<string, string>> {
  const workspace = openWorkspace(graph.root);
  try {
    const plan = await makePlan(workspace, graph);
    return Object.fromEntries(plan.tasks.map(({ task, state }) => [task.id, state]));
  } finally {
    await workspace.close();
  }
}

test('a second run executes nothing and leaves what was published as it is', async () => {
  const tasks = [task('a', 'echo'), task('b', 'echo', { inputs: { from: from('a') } })];
  const graph = makeGraph(project.root, tasks, [{ path: 'tables/b.txt', task: 'b', artifact: 'out' }]);
  const first = await run(graph);
  expect(first.outcome.status).toBe('done');
  expect(first.executed).toEqual(['a', 'b']);
  expect(read('results/test/tables/b.txt')).toBe('ab');
  const second = await run(graph);
  expect(second.executed).toEqual([]);
  expect(second.outcome.counts).toMatchObject({ wanted: 2, cached: 2, executed: 0 });
  expect(second.events.filter((event) => event.type === 'published')).toEqual([]);
  expect(halfMade(project.root)).toEqual([]);
});

test('what the pipeline does not publish any more is removed, what was edited in results/ is put right', async () => {
  const tasks = [task('a', 'echo')];
  const publications = ['one.txt', 'sub/two.txt'].map((path) => ({ path, task: 'a', artifact: 'out' }));
  await run(makeGraph(project.root, tasks, publications));
  expect(read('results/test/sub/two.txt')).toBe('a');
  writeFileSync(join(project.root, 'results/test/one.txt'), 'edited by hand');
  await run(makeGraph(project.root, tasks, publications.slice(0, 1)));
  expect(read('results/test/one.txt')).toBe('a');
  expect(() => read('results/test/sub/two.txt')).toThrow('ENOENT');
});

test('an edited stage whose output comes out equal stops the wave', async () => {
  project.write('stages/first.ts', echo);
  const graph = graphOf(task('a', 'first'), task('b', 'echo', { inputs: { from: from('a') } }));
  await run(graph);
  project.write('stages/first.ts', echo.replace('+ params.text', "+ params.text + ''"));
  expect(await planStates(graph)).toEqual({ a: 'stale', b: 'pending' });
  const { executed, outcome } = await run(graph);
  expect(executed).toEqual(['a']);
  expect(outcome.counts).toMatchObject({ executed: 1, cached: 1 });
});

test('edits of comments, layout and types are none; edits of code count in every stage that reaches it; undoing is a hit', async () => {
  const helper = "export const mark = (text: string): string => '<' + text;\n";
  project.write('lib/helper.ts', helper);
  project.write(
    'stages/marked.ts',
    stageText('    writeFileSync(outputs.out, mark(params.text));', "import { mark } from '../lib/helper.ts';"),
  );
  const graph = graphOf(task('a', 'echo'), task('b', 'marked'));
  await run(graph);
  project.write(
    'lib/helper.ts',
    "// A comment.\nexport const mark = (\n  text: string | never,\n): string =>\n  /* here */ '<'   + text;\n",
  );
  expect((await run(graph)).executed).toEqual([]);
  project.write('lib/helper.ts', helper.replace("'<'", "'['"));
  expect(await planStates(graph)).toEqual({ a: 'fresh', b: 'stale' });
  expect((await run(graph)).executed).toEqual(['b']);
  project.write('lib/helper.ts', helper);
  expect((await run(graph)).executed).toEqual([]);
});

test('a file that a stage names beside itself, and native sources that it reaches, are part of its code', async () => {
  project.write('native/addon.ts', 'export const native = 1;\n');
  project.write('native/kernels/add.cc', 'int add(int a, int b) { return a + b; }\n');
  project.write('stages/words.txt', 'one');
  project.write(
    'stages/asset.ts',
    stageText("    writeFileSync(outputs.out, readFileSync(new URL('./words.txt', import.meta.url), 'utf8'));"),
  );
  project.write(
    'stages/reach.ts',
    stageText('    writeFileSync(outputs.out, String(native));', "import { native } from '../native/addon.ts';"),
  );
  const graph = graphOf(task('asset', 'asset'), task('reach', 'reach'));
  const { outcome } = await run(graph);
  expect(outcome.status).toBe('done');
  project.write('stages/words.txt', 'two');
  expect((await run(graph)).executed).toEqual(['asset']);
  project.write('native/kernels/multiply.cc', 'int multiply(int a, int b) { return a * b; }\n');
  expect((await run(graph)).executed).toEqual(['reach']);
  project.write('native/README.txt', 'not a source');
  expect((await run(graph)).executed).toEqual([]);
});

test('a cache copied to another checkout is a full hit', async () => {
  project.write('data/input.txt', 'data');
  const graphAt = (root: string) =>
    makeGraph(root, [
      makeTask(root, 'a', 'echo', { params: { text: join(root, 'data/input.txt') }, sources: ['text'] }),
      makeTask(root, 'b', 'echo', { inputs: { from: from('a') } }),
      makeTask(root, 'c', 'echo', { inputs: { from: { kind: 'file', path: join(root, 'data/input.txt') } } }),
    ]);
  await run(graphAt(project.root));
  const copy = makeProject({ 'stages/echo.ts': echo, 'data/input.txt': 'data' });
  try {
    // Times are not kept, as by a download or a careless copy.
    cpSync(join(project.root, 'cache'), join(copy.root, 'cache'), { recursive: true });
    const { executed, outcome } = await run(graphAt(copy.root));
    expect(executed).toEqual([]);
    expect(outcome.counts.cached).toBe(3);
    // And what is executed there reads the copied blobs.
    const more = makeTask(copy.root, 'd', 'echo', { inputs: { from: from('b') } });
    const graph = graphAt(copy.root);
    expect((await run({ ...graph, tasks: [...graph.tasks, more] })).executed).toEqual(['d']);
  } finally {
    copy.remove();
  }
});

test('folders, fan-ins and commands', async () => {
  project.write(
    'stages/folder.ts',
    stageText(
      `    mkdirSync(outputs.model + '/sub', { recursive: true });
    writeFileSync(outputs.model + '/config.json', params.text);
    writeFileSync(outputs.model + '/sub/weights.bin', 'w' + params.text);`,
      "import { mkdirSync } from 'node:fs';",
      "{ model: { description: 'folder', path: 'model' } }",
    ),
  );
  project.write(
    'stages/gather.ts',
    stageText(
      "    writeFileSync(outputs.out, inputs.all.map((m) => m.axes.rank + ':' + readFileSync(m.path + '/sub/weights.bin', 'utf8')).join(' '));",
    ),
  );
  const makers = [1, 2].map((rank) =>
    task(`make[rank=${rank}]`, 'folder', { axes: { rank }, params: { text: `r${rank}` }, outputs: { model: 'model' } }),
  );
  const members = makers.map((maker) => ({ task: maker.id, artifact: 'model', axes: maker.axes }));
  const graph = makeGraph(
    project.root,
    [
      ...makers,
      task('gather', 'gather', { inputs: { all: { kind: 'all', members } } }),
      task('count', '', {
        action: {
          kind: 'run',
          shell: true,
          command: 'wc -c < {{in:text}} | tr -d " " > out.txt; echo "$GREETING $PIPE_OUT_out $UNDECLARED"',
        },
        env: { GREETING: 'hello' },
        inputs: { text: from('gather') },
      }),
      task('list', '', {
        action: { kind: 'run', shell: false, command: ['node', '-e', 'console.log(process.argv[1])', 'a b'] },
        outputs: {},
        inputs: { models: { kind: 'all', members } },
      }),
    ],
    [
      { path: 'gathered.txt', task: 'gather', artifact: 'out' },
      { path: 'count.txt', task: 'count', artifact: 'out' },
      { path: 'models/one', task: makers[0]!.id, artifact: 'model' },
    ],
  );
  process.env.UNDECLARED = 'leak';
  const { outcome } = await run(graph);
  delete process.env.UNDECLARED;
  expect(outcome.failures).toEqual([]);
  expect(read('results/test/gathered.txt')).toBe('1:wr1 2:wr2');
  expect(read('results/test/count.txt').trim()).toBe('11');
  expect(read('results/test/models/one/sub/weights.bin')).toBe('wr1');
  const workspace = openWorkspace(project.root);
  const entry = [...workspace.store.catalog.all()].find(({ task }) => task === 'count')!;
  const log = workspace.store.readBlob(workspace.store.readRecord(entry.key)!.log).toString();
  await workspace.close();
  expect(log).toMatch(/^hello \/.*out\.txt \n$/);
  expect((await run(graph)).executed).toEqual([]);
});

test('only the wanted tasks run, --force runs them again, and equal results keep the rest fresh', async () => {
  const graph = graphOf(
    task('a', 'echo'),
    task('b', 'echo', { inputs: { from: from('a') } }),
    task('c', 'echo', { inputs: { from: from('a') } }),
  );
  expect((await run(graph, { targets: ['b'] })).executed).toEqual(['a', 'b']);
  expect((await run(graph, { targets: ['b'], force: ['a'] })).executed).toEqual(['a']);
  await expect(run(graph, { targets: ['d*'] })).rejects.toThrow(/no stage or task `d\*`/);
  expect((await run(graph)).executed).toEqual(['c']);
});

test('needs orders tasks, critical path and pools decide what starts first', async () => {
  project.write(
    'stages/clock.ts',
    stageText(
      "    appendFileSync(params.text, outputs.out + '\\n'); writeFileSync(outputs.out, params.text);",
      "import { appendFileSync } from 'node:fs';",
    ),
  );
  const log = join(project.root, 'order.txt');
  const stamp = (id: string, more: Partial<Task> = {}) =>
    task(id, 'clock', { params: { text: log }, outputs: { out: `${id}.txt` }, ...more });
  const graph = graphOf(
    stamp('lonely'),
    stamp('head'),
    stamp('tail', { needs: ['head'] }),
    stamp('big', { resources: { cpu: 99, gpu: 0, memory: 0 }, needs: ['tail'] }),
  );
  const { outcome } = await run(graph, { pools: { cpu: 1 } });
  expect(outcome.status).toBe('done');
  const order = readFileSync(log, 'utf8').trim().split('\n');
  // The chain of three has the most work hanging on it; what asks for more than there is gets all of it.
  expect(order.map((path) => path.split('/').at(-1))).toEqual(['head.txt', 'tail.txt', 'lonely.txt', 'big.txt']);
});

test('a damaged or deleted blob is noticed and computed again', async () => {
  const graph = graphOf(task('a', 'echo'), task('b', 'echo', { inputs: { from: from('a') } }));
  await run(graph);
  const workspace = openWorkspace(project.root);
  const { outputs } = [...workspace.store.catalog.all()].find((entry) => entry.task === 'a')!;
  const path = workspace.store.blobPath(outputs.out!.digest);
  await workspace.close();
  const { rmSync } = await import('node:fs');
  rmSync(path);
  expect(await planStates(graph)).toEqual({ a: 'stale', b: 'pending' });
  expect((await run(graph)).executed).toEqual(['a']);
  expect(readFileSync(path, 'utf8')).toBe('a');
});

test('an interrupted run ends what runs and skips the rest', async () => {
  project.write(
    'stages/wait.ts',
    stageText("    writeFileSync(params.text, ''); await new Promise((resolve) => setTimeout(resolve, 60_000));"),
  );
  mkdirSync(join(project.root, 'signals'));
  const controller = new AbortController();
  const { watch } = await import('node:fs');
  const watcher = watch(join(project.root, 'signals'), () => controller.abort());
  const graph = graphOf(
    task('a', 'wait', { params: { text: join(project.root, 'signals/started') } }),
    task('b', 'echo', { inputs: { from: from('a') } }),
  );
  const { outcome } = await run(graph, { signal: controller.signal });
  watcher.close();
  expect(outcome.status).toBe('interrupted');
  expect(outcome.counts).toMatchObject({ skipped: 2, executed: 0 });
  expect(halfMade(project.root)).toEqual([]);
});
