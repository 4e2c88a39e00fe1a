/** `kill -9` of the run, before what it changes on the disk, after events and at random; of its workers and commands. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Random } from '../../model/random.ts';
import { ended, eventsIn, startPipe } from '../support/checkout.ts';
import { openLedger } from './ledger.ts';
import { type Fault, meeting, missingShim } from './shim.ts';
import { command, expectWholeJournals, openSubject, recover, type Subject, soundRecords } from './subject.ts';

const count = openLedger('kills');
let subject: Subject;
beforeAll(async () => {
  subject = await openSubject();
});
afterAll(() => subject.remove());

/**
 * Kills the run before one operation, and sees the next one put everything right.
 * @returns whether there was one: how many operations a run has depends a little on what was ready when.
 */
async function killAt(operations: Fault['operations'], at: number): Promise<boolean> {
  subject.restore('new');
  const fault = { under: subject.root, operations, at, what: 'kill' } as const;
  const child = startPipe(command, subject.root, ['run', 'relay', '-j', '1'], meeting(fault));
  const { code } = await ended(child);
  expect([0, null], `${operations} ${at}`).toContain(code);
  expectWholeJournals(subject.cache);
  await recover(subject);
  return code === null;
}

test('before each file that gets its name: records, blobs, claims, published files', {
  timeout: 600_000,
}, async (context) => {
  const missing = missingShim();
  if (missing !== null) context.skip(missing);
  let at = 1;
  for (; await killAt('publish', at); at++) count('kill -9 of the run before a file gets its name');
  expect(at).toBeGreaterThan(30);
});

test('before other changes on the disk', { timeout: 300_000 }, async (context) => {
  const missing = missingShim();
  if (missing !== null) context.skip(missing);
  let at = 3;
  for (; await killAt('write', at); at += 11) count('kill -9 of the run before a change on the disk');
  expect(at).toBeGreaterThan(100);
});

test('after each event, with two tasks at a time', { timeout: 300_000 }, async () => {
  const random = new Random(5, 'kills');
  subject.restore('new');
  const total = (await subject.run(['relay', '-j', '2'])).events.length;
  for (let after = 1; after < total; after++) {
    subject.restore('new');
    const child = startPipe(command, subject.root, ['run', 'relay', '-j', '2', '--json']);
    const wait = random.integer(3) === 0 ? random.integer(20) : 0;
    let seen = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      const before = seen;
      seen += chunk.toString().split('\n').length - 1;
      if (before >= after || seen < after) return;
      if (wait === 0) child.kill('SIGKILL');
      else setTimeout(() => child.kill('SIGKILL'), wait);
    });
    const done = eventsIn((await ended(child)).stdout).flatMap((event) =>
      event.type === 'task-done' ? event.task : [],
    );
    // What was told as done is recorded.
    expect(soundRecords(subject.cache).map(({ task }) => task)).toEqual(expect.arrayContaining(done));
    await recover(subject);
    count('kill -9 of the run after an event');
  }
});

/** A stage and a command that say who they are and wait; the pipeline's tasks but for these are those of the subject. */
const waiting = `name: relay
stages:
  kept: { uses: add, in: { from: { file: data/raw.txt } }, with: { words: kept } }
  stage: { uses: wait, in: { from: kept.text } }
  command:
    run: echo $$ > PIDFILE && (sleep 600 & sleep 600)
    shell: true
    in: { from: kept.text }
    out: { text: text.txt }
`;
const wait = `import { writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Says who it is, and waits.',
  params: {},
  inputs: { from: { description: 'anything' } },
  outputs: { text: { description: 'its process', path: 'pid.txt' } },
  async run({ outputs }) {
    writeFileSync(outputs.text, String(process.pid));
    writeFileSync('PIDFILE', String(process.pid));
    await new Promise((resolve) => setTimeout(resolve, 600_000));
  },
});
`;

test.each([
  ['stage', 'its worker', (pid: number) => process.kill(pid, 'SIGKILL')],
  ['stage', "its worker's process group", (pid: number) => process.kill(-pid, 'SIGKILL')],
  ['command', 'its process', (pid: number) => process.kill(pid, 'SIGKILL')],
  ['command', 'its whole process group', (pid: number) => process.kill(-groupOf(pid), 'SIGKILL')],
])('of a %s: %s', async (task, _, kill) => {
  const pidFile = join(subject.root, `${task}.pid`);
  subject.restore('new');
  writeFileSync(pidFile, '');
  subject.write('pipelines/waiting.yaml', waiting.replaceAll('PIDFILE', pidFile));
  subject.write('stages/wait.ts', wait.replace('PIDFILE', pidFile));
  const child = startPipe(command, subject.root, ['run', 'waiting', task, '--json']);
  const end = ended(child);
  await expect.poll(() => Number(readFileSync(pidFile, 'utf8')), { timeout: 30_000 }).toBeGreaterThan(0);
  const pid = Number(readFileSync(pidFile, 'utf8'));
  kill(pid);
  const told = await end;
  expect(told.code).toBe(1);
  expect(eventsIn(told.stdout)).toContainEqual(
    expect.objectContaining({
      type: 'task-failed',
      task,
      failure: expect.objectContaining({ message: expect.stringContaining('SIGKILL') }),
    }),
  );
  expect(soundRecords(subject.cache).map((record) => record.task)).toEqual(['kept']);
  // Nothing of the task is left running, and the rest of the pipeline goes on.
  await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false);
  await recover(subject);
  count(`kill -9 of a ${task}`);
});

function groupOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]);
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
