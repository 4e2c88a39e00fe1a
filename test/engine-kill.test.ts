import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { build } from 'esbuild';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Event } from '../engine/events.ts';
import type { Graph } from '../engine/graph.ts';
import { verify } from '../engine/verify.ts';
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

const driver = join(import.meta.dirname, '..', 'build', 'test', 'engine-driver.mjs');
let project: TestProject;

beforeAll(async () => {
  await build({
    entryPoints: [join(import.meta.dirname, 'support', 'engine-driver.ts')],
    outfile: driver,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    target: 'node20',
  });
});
beforeEach(() => {
  project = makeProject({ 'stages/echo.ts': echo });
});
afterEach(() => project.remove());

/** Starts a run of the graph in a process of its own; `onEvent` hears what it says. */
function startRun(graph: Graph, onEvent: (event: Event) => void = () => undefined) {
  writeFileSync(join(graph.root, 'graph.json'), JSON.stringify(graph));
  const child: ChildProcess = spawn(process.execPath, [driver, graph.root], { stdio: ['ignore', 'pipe', 'inherit'] });
  const events: Event[] = [];
  const lines = createInterface({ input: child.stdout! });
  lines.on('line', (line) => {
    const event = JSON.parse(line) as Event;
    events.push(event);
    onEvent(event);
  });
  const ended = new Promise<Event[]>((resolve) => lines.on('close', () => resolve(events)));
  return { child, ended };
}

/** Whether a process runs (a zombie does not). */
function runs(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

async function untilGone(pid: number): Promise<void> {
  while (runs(pid)) await delay(20);
}

test('a run that is killed at any moment loses no finished work, and the next one finishes cleanly', async () => {
  // Eight chains of three, and a folder at the end of each, so that kills fall into every part of the store's work.
  project.write(
    'stages/folder.ts',
    stageText(
      "    mkdirSync(outputs.out);\n    for (let i = 0; i < 5; i++) writeFileSync(outputs.out + '/' + i, params.text + i + readFileSync(inputs.from, 'utf8'));",
      "import { mkdirSync } from 'node:fs';",
      "{ out: { description: 'folder', path: 'out' } }",
    ),
  );
  const tasks = Array.from({ length: 8 }, (_, i) => [
    makeTask(project.root, `a${i}`, 'echo'),
    makeTask(project.root, `b${i}`, 'echo', { inputs: { from: from(`a${i}`) } }),
    makeTask(project.root, `c${i}`, 'folder', { inputs: { from: from(`b${i}`) }, outputs: { out: 'out' } }),
  ]).flat();
  const publications = tasks.map(({ id }) => ({ path: `${id}/result`, task: id, artifact: 'out' }));
  const graph = makeGraph(project.root, tasks, publications);
  const finished = new Set<string>();
  for (let round = 0; round < 12; round++) {
    // Killed at a given event, plus a random moment: the seed of the moment is the clock, the outcome must not care.
    const killAfter = Math.floor(Math.random() * 30);
    let seen = 0;
    const { child, ended } = startRun(graph, (event) => {
      seen += 1;
      if (event.type === 'task-done') expect(finished.has(event.task)).toBe(false);
      if (seen === killAfter + 4) setTimeout(() => child.kill('SIGKILL'), Math.random() * 8);
    });
    const events = await ended;
    for (const event of events)
      if (event.type === 'task-done' || event.type === 'task-cached') finished.add(event.task);
    const redone = events.filter((event) => event.type === 'task-started' && finished.has(event.task)).length;
    const done = events.filter((event) => event.type === 'task-done').length;
    expect(redone).toBe(done);
  }
  const last = await run(graph);
  expect(last.outcome.status).toBe('done');
  for (const task of last.executed) expect(finished.has(task)).toBe(false);
  expect(readFileSync(join(project.root, 'results/test/b7/result'), 'utf8')).toBe('a7b7');
  const workspace = openWorkspace(project.root);
  const report = await verify(workspace);
  await workspace.close();
  expect(report).toMatchObject({ damaged: [], recompute: [], records: 24 });
  const again = await run(graph);
  expect(again.executed).toEqual([]);
  if (last.executed.length > 0) expect(halfMade(project.root)).toEqual([]);
});

test('when the run is killed its workers die with it, even in the middle of a computation, and so do commands', async () => {
  project.write(
    'stages/spin.ts',
    stageText("    console.log('spinning'); writeFileSync(params.text, String(process.pid)); while (true) {}"),
  );
  const pidFiles = ['spin.pid', 'command.pid'].map((name) => join(project.root, name));
  const graph = makeGraph(project.root, [
    makeTask(project.root, 'spin', 'spin', { params: { text: pidFiles[0]! } }),
    makeTask(project.root, 'command', '', {
      action: { kind: 'run', shell: true, command: `echo $$ > ${pidFiles[1]}; sleep 600` },
    }),
  ]);
  const { child, ended } = startRun(graph);
  const pidIn = async (path: string) => {
    for (;;) {
      try {
        const pid = Number(readFileSync(path, 'utf8'));
        if (pid > 0) return pid;
      } catch {
        // Not yet written.
      }
      await delay(20);
    }
  };
  const pids = await Promise.all(pidFiles.map(pidIn));
  expect(pids.every(runs)).toBe(true);
  child.kill('SIGKILL');
  await ended;
  await Promise.all(pids.map(untilGone));
  // What they left is swept by the next run that executes something.
  const next = makeGraph(project.root, [makeTask(project.root, 'a', 'echo')]);
  expect((await run(next)).executed).toEqual(['a']);
  expect(halfMade(project.root)).toEqual([]);
});

test('a second run waits for the task that the first runs, and uses its result', async () => {
  const gate = join(project.root, 'gate');
  project.write(
    'stages/gated.ts',
    stageText(
      "    while (!existsSync(params.text)) await new Promise((resolve) => setTimeout(resolve, 10));\n    writeFileSync(outputs.out, 'through');",
      "import { existsSync } from 'node:fs';",
    ),
  );
  const graph = makeGraph(project.root, [
    makeTask(project.root, 'gated', 'gated', { params: { text: gate } }),
    makeTask(project.root, 'after', 'echo', { inputs: { from: from('gated') } }),
  ]);
  let started: () => void = () => undefined;
  const isStarted = new Promise<void>((resolve) => {
    started = resolve;
  });
  const first = startRun(graph, (event) => {
    if (event.type === 'task-started') started();
  });
  await isStarted;
  const second = startRun(graph, (event) => {
    if (event.type === 'task-waiting') writeFileSync(gate, '');
  });
  const [ours, theirs] = await Promise.all([first.ended, second.ended]);
  const done = (events: Event[], task: string) =>
    events.flatMap((event) => (event.type === 'task-done' && event.task === task ? [event.origin] : []));
  expect(done(ours, 'gated')).toEqual(['executed']);
  expect(done(theirs, 'gated')).toEqual(['shared']);
  expect([...done(ours, 'after'), ...done(theirs, 'after')].filter((origin) => origin === 'executed')).toHaveLength(1);
  expect(readdirSync(join(project.root, 'cache/claims'))).toEqual([]);
});
