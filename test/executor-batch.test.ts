/** What holds for any batch system: jobs are processes here, and the system fails as it is told to. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Ended, Executor, Order, OrderListener } from '../engine/executor.ts';
import { openBatch } from '../engine/executors/batch.ts';
import { jobsFolder } from '../engine/executors/jobs_folder.ts';
import { sbatchWords } from '../engine/executors/slurm.ts';
import type { Command } from '../engine/graph.ts';
import { shellWord } from '../engine/shell_word.ts';
import { openWorkspace, type Workspace } from '../engine/workspace.ts';
import { repository } from './support/checkout.ts';
import { makeProject, type TestProject } from './support/engine.ts';
import { openProcessScheduler, type ProcessScheduler } from './support/process_scheduler.ts';

let project: TestProject;
let workspace: Workspace;
let scheduler: ProcessScheduler;
let executor: Executor;
beforeEach(() => {
  project = makeProject();
  workspace = openWorkspace(project.root);
  scheduler = openProcessScheduler();
  executor = open();
});
afterEach(async () => {
  await executor.close();
  await workspace.close();
  project.remove();
});

function open(system: ProcessScheduler = scheduler, patienceMs = 2000): Executor {
  return openBatch(system, {
    jobs: jobsFolder(workspace.project.cache),
    workerEntry: () => workspace.stages.workerEntry(),
    nodeProgram: () => workspace.stages.bundle(join(repository, 'engine', 'executors', 'node.ts')),
    name: 'test',
    most: 10,
    patienceMs,
  });
}

const jobs = () => jobsFolder(workspace.project.cache);
const key = (n: number) => String(n).repeat(64);

/** An attempt at a command, laid out. */
function order(n: number, line: string, more: Partial<Order> = {}): Order {
  const place = executor.place(key(n));
  place.make(['out', 'scratch']);
  const command: Command = { shell: true, command: line };
  const folder = join(place.home, 'out');
  const job = {
    type: 'command' as const,
    ...command,
    inputs: {},
    outputs: { o: join(folder, 'o') },
    env: {},
    secrets: {},
    folder,
    scratch: join(place.home, 'scratch'),
  };
  const resources = { cpu: 1, gpu: 0, memory: 0 };
  return { key: key(n), task: `task ${n}`, stage: 'stage', place, job, resources, timeoutSeconds: null, ...more };
}

/** Runs an attempt; `said` is what it told. */
function run(what: Order, signal = new AbortController().signal, by = executor) {
  const said: string[] = [];
  const listener: OrderListener = {
    queued: ({ id }, adopted) => said.push(`${adopted ? 'adopted' : 'queued'} ${id}`),
    started: () => said.push('started'),
    progress: () => undefined,
    warn: (message) => said.push(message),
    measure: () => undefined,
  };
  return { said, ended: by.run(what, listener, signal) };
}

const output = (what: Order) => readFileSync(what.job.outputs.o!, 'utf8');
const kindOf = ({ complaint }: Ended) => complaint?.kind ?? 'well';

test('a job runs, and its word says where and how long; its log is kept apart from its folder', async () => {
  const attempt = order(1, 'echo hello; echo done > "$PIPE_OUT_o"');
  const { said, ended } = run(attempt);
  const how = await ended;
  expect(how).toMatchObject({ complaint: null, job: { cluster: 'processes', id: '1_0' }, host: { name: 'here' } });
  expect(how.log.toString()).toBe('hello\n');
  expect(said).toEqual(['queued 1_0', 'started']);
  expect(output(attempt)).toBe('done\n');
  await attempt.place.leave(true);
  expect(readdirSync(jobs())).toEqual(['mail']);
  expect(readdirSync(join(jobs(), 'mail'))).toEqual([]);
});

test('attempts of one stage that ask for the same are submitted together, as many as one call takes', async () => {
  scheduler = openProcessScheduler(2);
  executor = open();
  const resources = { cpu: 2, gpu: 0, memory: 0 };
  const all = [order(1, 'true'), order(2, 'true'), order(3, 'true'), order(4, 'true', { resources })];
  await Promise.all(all.map((attempt) => run(attempt).ended));
  expect(scheduler.submissions.map(({ scripts }) => scripts.length).sort()).toEqual([1, 1, 2]);
  expect(new Set(scheduler.submissions.map(({ tag }) => tag)).size).toBe(3);
});

test('a submission whose answer was lost is found by its tag, and not made twice', async () => {
  await executor.close();
  // The system does answer, the second time, however long that takes on a busy machine.
  executor = open(scheduler, 60_000);
  scheduler.answers.submit = 'lost';
  const attempt = order(1, `echo x >> ${join(project.root, 'executions')}`);
  const { said, ended } = run(attempt);
  expect(kindOf(await ended)).toBe('well');
  expect(scheduler.submissions).toHaveLength(1);
  expect(said).toContain('nobody answers; it is asked again for 60 s');
  expect(readFileSync(join(project.root, 'executions'), 'utf8')).toBe('x\n');
});

test('when nobody answers for long, the task fails and its folder stays: a later run finds the job if it was taken after all', async () => {
  scheduler.answers.submit = 'lost';
  scheduler.answers.list = 'silent';
  const gate = join(project.root, 'gate');
  const attempt = order(1, `while [ ! -e ${gate} ]; do sleep 0.05; done; echo late > "$PIPE_OUT_o"`);
  const how = await run(attempt).ended;
  expect(how.complaint).toMatchObject({ kind: 'refused', message: expect.stringContaining('nobody answers') });
  await attempt.place.leave(true);
  expect(existsSync(attempt.place.home)).toBe(true);
  scheduler.answers.list = 'well';
  writeFileSync(gate, '');
  const later = open();
  const found = (await later.underWay(key(1)))!;
  const { said, ended } = run(found, undefined, later);
  expect(kindOf(await ended)).toBe('well');
  expect(said[0]).toBe('adopted 1_0');
  expect(output(found)).toBe('late\n');
  await found.place.leave(true);
  expect(existsSync(attempt.place.home)).toBe(false);
  await later.close();
});

test('what failed while nobody looked is not taken up, and goes', async () => {
  scheduler.answers.submit = 'lost';
  scheduler.answers.list = 'silent';
  const attempt = order(1, 'exit 7');
  await run(attempt).ended;
  await expect.poll(() => readdirSync(join(jobs(), 'mail'))).toContainEqual(expect.stringMatching(/\.ended$/));
  scheduler.answers.list = 'well';
  const later = open();
  expect(await later.underWay(key(1))).toBeNull();
  expect(existsSync(attempt.place.home)).toBe(false);
  await later.close();
});

test('a refusal is told in the words of the system', async () => {
  scheduler.answers.submit = 'refused';
  expect((await run(order(1, 'true')).ended).complaint).toEqual({
    kind: 'refused',
    message: 'The batch system does not take its job: no',
  });
});

test('a job that the system has forgotten is lost; one that has left its word is not', async () => {
  scheduler.answers.list = 'forgetful';
  const attempts = [order(1, 'sleep 600'), order(2, 'echo 2 > "$PIPE_OUT_o"')];
  const [forgotten, finished] = await Promise.all(attempts.map((attempt) => run(attempt).ended));
  expect(forgotten!.complaint).toMatchObject({
    kind: 'lost',
    message: expect.stringContaining('does not know it any more'),
  });
  expect(kindOf(finished!)).toBe('well');
  await attempts[0]!.place.leave(true);
});

test('a job that is started twice does its work once; one without its folder does nothing, and ends', async () => {
  const executions = join(project.root, 'executions');
  const attempt = order(1, `echo x >> ${executions}`);
  await run(attempt).ended;
  const [script] = scheduler.submissions[0]!.scripts;
  expect(spawnSync('/bin/sh', [script!]).status).toBe(75);
  await attempt.place.leave(true);
  expect(spawnSync('/bin/sh', [script!]).status).not.toBe(0);
  expect(readFileSync(executions, 'utf8')).toBe('x\n');
  expect(readdirSync(join(jobs(), 'mail'))).toEqual([]);
});

test('a cancelled attempt ends; where that cannot be told to the system, its folder stays for a later run', async () => {
  const controller = new AbortController();
  const attempt = order(1, 'sleep 600');
  const { said, ended } = run(attempt, controller.signal);
  await expect.poll(() => said).toContain('started');
  controller.abort();
  await ended;
  await attempt.place.leave(true);
  expect(readdirSync(jobs())).toEqual(['mail']);

  const second = new AbortController();
  scheduler.answers.cancel = 'silent';
  const left = order(2, 'sleep 600');
  const told = run(left, second.signal);
  await expect.poll(() => told.said).toContain('started');
  second.abort();
  await told.ended;
  await left.place.leave(true);
  expect(told.said.at(-1)).toMatch(/job 2_0 could not be cancelled: run again/);
  expect(existsSync(left.place.home)).toBe(true);
  scheduler.answers.cancel = 'well';
  await scheduler.cancel(['2_0']);
});

test('secrets reach the job with its environment, and no file', async () => {
  process.env.TEST_BATCH_TOKEN = 'hunter2-hunter2';
  try {
    const attempt = order(1, 'test ${#TEST_BATCH_TOKEN} -eq 15 && echo "it is $TEST_BATCH_TOKEN"');
    const secret = { ...attempt, job: { ...attempt.job, secrets: { TEST_BATCH_TOKEN: 'hunter2-hunter2' } } } as Order;
    expect(kindOf(await run(secret).ended)).toBe('well');
    const files = readdirSync(jobs(), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    expect(files.length).toBeGreaterThan(3);
    for (const { parentPath, name } of files) {
      expect(readFileSync(join(parentPath, name), 'utf8')).not.toContain('hunter2');
    }
  } finally {
    delete process.env.TEST_BATCH_TOKEN;
  }
});

test('words are read back by a shell as they were, whatever is in them', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.string({ unit: 'grapheme', maxLength: 12 }).filter((text) => !text.includes('\0')),
        { minLength: 1, maxLength: 20 },
      ),
      (words) => {
        const script = join(project.root, 'words.sh');
        writeFileSync(script, `printf '%s\\0' ${words.map(shellWord).join(' ')}`);
        expect(spawnSync('/bin/sh', [script], { encoding: 'utf8' }).stdout).toBe(`${words.join('\0')}\0`);
      },
    ),
    { numRuns: 40 },
  );
});

test('resources in the terms of Slurm: memory in whole MiB, never less than was asked; time in whole minutes, never shorter', () => {
  fc.assert(
    fc.property(
      fc.record({
        cpu: fc.integer({ min: 1, max: 256 }),
        gpu: fc.integer({ min: 0, max: 16 }),
        memory: fc.integer({ min: 0, max: 2 ** 45 }),
        timeout: fc.option(fc.integer({ min: 1, max: 10 ** 6 })),
      }),
      ({ cpu, gpu, memory, timeout }) => {
        const words = sbatchWords({
          name: 'p/s',
          stage: 's',
          tag: 't',
          scripts: ['/a', '/b'],
          resources: { cpu, gpu, memory },
          timeoutSeconds: timeout,
        });
        const value = (name: string) => words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3);
        expect(value('array')).toBe('0-1');
        expect(value('cpus-per-task')).toBe(String(cpu));
        expect(value('gres')).toBe(gpu === 0 ? undefined : `gpu:${gpu}`);
        if (memory === 0) expect(value('mem')).toBeUndefined();
        else {
          const mebibytes = Number(/^(\d+)M$/.exec(value('mem')!)![1]);
          expect(mebibytes * 2 ** 20).toBeGreaterThanOrEqual(memory);
          expect((mebibytes - 1) * 2 ** 20).toBeLessThan(memory);
        }
        if (timeout === null) expect(value('time')).toBeUndefined();
        else expect(Number(value('time')) * 60).toBeGreaterThan(timeout);
      },
    ),
  );
});
