import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Event } from '../engine/events.ts';
import type { Task } from '../engine/graph.ts';
import type { RunOptions } from '../engine/run.ts';
import { taskLog } from '../engine/runs.ts';
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

let project: TestProject;
beforeEach(() => {
  project = makeProject({ 'stages/echo.ts': echo });
});
afterEach(() => project.remove());

/** Runs one bad task with a good neighbour and a dependent; expects the failure alone to be lost. */
async function runBad(body: string, more: Partial<Task> = {}, options: RunOptions = {}, imports = '') {
  project.write('stages/bad.ts', stageText(body, imports));
  const tasks = [
    makeTask(project.root, 'good', 'echo'),
    makeTask(project.root, 'bad', 'bad', more),
    makeTask(project.root, 'after', 'echo', { inputs: { from: from('bad') } }),
  ];
  const result = await run(makeGraph(project.root, tasks), { keepGoing: true, ...options });
  expect(result.outcome.status).toBe('failed');
  expect(result.executed).toEqual(['good']);
  expect(result.outcome.counts).toMatchObject({ executed: 1, failed: 1, skipped: 1 });
  expect(halfMade(project.root)).toEqual([]);
  const failed = result.events.find((event): event is Event & { type: 'task-failed' } => event.type === 'task-failed');
  expect(failed?.task).toBe('bad');
  expect(failed?.failure.message).toContain('bad');
  const workspace = openWorkspace(project.root);
  const report = await verify(workspace);
  const log = taskLog(workspace.store, 'bad');
  await workspace.close();
  expect(report.damaged).toEqual([]);
  expect(report.records).toBe(1);
  return { ...failed!, logText: log === null ? '' : readFileSync(log.path, 'utf8'), events: result.events };
}

test('a StageError is shown without a stack, anything else with the line of the source', async () => {
  const told = await runBad(
    "    context.log('about to fail'); throw new StageError('the data set is empty');",
    {},
    {},
    "import { StageError } from 'pipe/stage';",
  );
  expect(told.failure).toEqual({ kind: 'stage-error', message: 'task bad failed: the data set is empty' });
  expect(told.tail).toEqual(['about to fail']);
  expect(told.log).toMatch(/cache\/runs\/.*bad\.log$/);
  expect(told.logText).toBe('about to fail\n');
});

test('an unexpected exception names the source line', async () => {
  const told = await runBad("    throw new TypeError('no ' + params.text);");
  expect(told.failure.kind).toBe('exception');
  expect(told.failure.message).toContain('TypeError: no bad');
  expect(told.failure.stack).toMatch(/stages\/bad\.ts:10/);
});

test('a crash in native code fails the task and not the run', async () => {
  const told = await runBad(
    "    console.log('last words'); process.kill(process.pid, 'SIGSEGV'); await new Promise(() => {});",
  );
  expect(told.failure.kind).toBe('crash');
  expect(told.failure.message).toContain('SIGSEGV');
  expect(told.tail).toContain('last words');
});

test('a stage that ends the process is a crash', async () => {
  expect((await runBad('    process.exit(0);')).failure.message).toContain(
    'exited with code 0 before the task was done',
  );
});

test('a task that computes without end is ended with all that it started when its time is over', async () => {
  const told = await runBad(
    `    const child = spawn('sleep', ['600']); console.log(child.pid);
    while (true) {}`,
    { timeoutSeconds: 0.5 },
    {},
    "import { spawn } from 'node:child_process';",
  );
  expect(told.failure).toMatchObject({ kind: 'timeout' });
  expect(told.failure.message).toContain('longer than its timeout of 0.5 s');
  const pid = Number(told.logText.trim());
  expect(pid).toBeGreaterThan(0);
  // A zombie that its new parent has not yet taken away still has a /proc entry, but no program.
  const isGone = () => {
    try {
      return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return true;
    }
  };
  expect(isGone()).toBe(true);
});

test('an output that is not written is named', async () => {
  const told = await runBad('    void outputs;');
  expect(told.failure).toMatchObject({ kind: 'unwritten-output' });
  expect(told.failure.message).toContain('`out` (out.txt)');
});

test.each([
  ['a link out of the folder', "symlinkSync('/etc/hostname', outputs.out);", 'a link out of the task'],
  ['a file beside its folder', "writeFileSync(outputs.out, ''); writeFileSync('../escaped.txt', '');", 'escaped.txt'],
  [
    'a folder with a link out',
    "mkdirSync(outputs.out); symlinkSync('/etc', outputs.out + '/etc');",
    'a link out of the task',
  ],
])('%s is refused', async (_, body, words) => {
  const told = await runBad(`    ${body}`, {}, {}, "import { mkdirSync, symlinkSync } from 'node:fs';");
  expect(told.failure.kind).toBe('escape');
  expect(told.failure.message).toContain(words);
});

test('an output path that leaves the folder is refused before anything runs', async () => {
  const told = await runBad('', { outputs: { out: '../../x' } });
  expect(told.failure.kind).toBe('escape');
  expect(told.failure.message).toContain('../../x');
});

test.each([
  { out: 'folder', part: 'folder/part.txt' },
  { out: 'folder/part.txt', part: 'folder' },
  { out: 'same.txt', part: 'same.txt' },
])('an output that lies inside another is refused before anything runs: %j', async (outputs) => {
  const told = await runBad("    throw new Error('it ran');", { outputs });
  expect(told.failure.kind).toBe('escape');
  expect(told.failure.message).toMatch(
    /output `(out|part)` lies inside output `(out|part)` \(.*\): give each its own path/,
  );
});

test('an input that is modified in place is noticed, put aside and computed again', async () => {
  project.write(
    'stages/vandal.ts',
    stageText(
      "    chmodSync(inputs.from, 0o644); appendFileSync(inputs.from, 'x'); writeFileSync(outputs.out, '');",
      "import { appendFileSync, chmodSync } from 'node:fs';",
    ),
  );
  const a = makeTask(project.root, 'a', 'echo');
  const first = await run(
    makeGraph(project.root, [a, makeTask(project.root, 'bad', 'vandal', { inputs: { from: from('a') } })]),
  );
  expect(first.outcome.failures[0]?.failure.kind).toBe('input-changed');
  expect(first.outcome.failures[0]?.failure.message).toContain('modified while the task ran');
  expect(first.events.some((event) => event.type === 'quarantined')).toBe(true);
  const b = makeTask(project.root, 'b', 'echo', { inputs: { from: from('a') } });
  expect((await run(makeGraph(project.root, [a, b]))).executed).toEqual(['a', 'b']);
});

test('a source that changes while a task runs is not recorded', async () => {
  project.write('data.txt', 'one');
  const path = join(project.root, 'data.txt');
  const told = await runBad(
    "    writeFileSync(outputs.out, readFileSync(params.text, 'utf8')); writeFileSync(params.text, 'two');",
    { params: { text: path }, sources: ['text'] },
  );
  expect(told.failure.kind).toBe('input-changed');
  expect(told.failure.message).toContain('data.txt, changed while the task ran');
});

test('a source that is not there fails its task and no other', async () => {
  const told = await runBad('', { params: { text: join(project.root, 'absent.txt') }, sources: ['text'] });
  expect(told.failure.message).toMatch(/parameter `text`: .*absent\.txt does not exist/);
});

const command = (...words: string[]) => ({ action: { kind: 'run', shell: false, command: words } }) as const;

test('a command fails with its exit code, and its last words are told', async () => {
  const told = await runBad('', command('sh', '-c', 'echo why >&2; exit 3'));
  expect(told.failure).toEqual({
    kind: 'exit-code',
    message: 'task bad failed: the command ended with exit code 3',
  });
  expect(told.tail).toEqual(['why']);
});

test.each([
  [['no-such-program', '--flag'], 'no-such-program'],
  [['cat', '{{in:absent}}'], '{{in:absent}}'],
])('the command %j is told what is wrong', async (words, problem) => {
  const told = await runBad('', command(...words));
  expect(told.failure.message).toContain(problem);
});

test('a gigabyte of output stays on the disk, and its log keeps both ends', async () => {
  // 64 MB here: the same path, and a test that does not fill the disk.
  const before = process.memoryUsage.rss();
  const told = await runBad(
    `    const line = 'y'.repeat(1023) + '\\n';
    console.log('first line');
    for (let i = 0; i < 64 * 1024; i++) process.stdout.write(line);
    console.log('last line');
    throw new Error('enough');`,
  );
  expect(process.memoryUsage.rss() - before).toBeLessThan(200 << 20);
  expect(told.logText.startsWith('first line\n')).toBe(true);
  expect(told.logText.trimEnd().endsWith('last line')).toBe(true);
  expect(told.logText).toMatch(/\[\d+ bytes of output are left out here\]/);
  expect(statSync(told.log!).size).toBeLessThan(17 << 20);
});

test('retry tries again and says so; a task that wants absent GPUs fails at once', async () => {
  project.write(
    'stages/flaky.ts',
    stageText(
      "    if (!existsSync(context.retained + '/tried')) { writeFileSync(context.retained + '/tried', ''); throw new Error('not yet'); }\n    writeFileSync(outputs.out, 'ok');",
      "import { existsSync } from 'node:fs';",
    ),
  );
  const flaky = makeTask(project.root, 'flaky', 'flaky', { retry: 1 });
  const { executed, events } = await run(makeGraph(project.root, [flaky]));
  expect(executed).toEqual(['flaky']);
  expect(events.filter((event) => event.type === 'task-retried')).toHaveLength(1);
  const gpu = makeTask(project.root, 'gpu', 'echo', { resources: { cpu: 1, gpu: 2, memory: 0 } });
  const { outcome } = await run(makeGraph(project.root, [gpu]), { pools: { gpu: 0 } });
  expect(outcome.failures[0]?.failure.message).toBe('task gpu needs 2 GPUs; this machine offers 0');
});

test('without keepGoing nothing new starts after a failure', async () => {
  project.write('stages/bad.ts', stageText("    throw new Error('no');"));
  const tasks = [makeTask(project.root, 'bad', 'bad'), makeTask(project.root, 'good', 'echo')];
  const { outcome, events } = await run(makeGraph(project.root, tasks), { jobs: 1 });
  expect(outcome.counts).toMatchObject({ failed: 1, skipped: 1, executed: 0 });
  expect(events.find((event) => event.type === 'task-skipped')).toMatchObject({
    task: 'good',
    because: 'the run stopped when bad failed',
  });
  expect(existsSync(join(project.root, 'results'))).toBe(false);
  expect(readdirSync(join(project.root, 'cache')).includes('ac')).toBe(false);
});

test('a stage that does not parse is an error that names file and line', async () => {
  project.write('stages/broken.ts', 'export default {\n  run( {\n');
  await expect(run(makeGraph(project.root, [makeTask(project.root, 'broken', 'broken')]))).rejects.toThrow(
    /broken\.ts:3/,
  );
});
