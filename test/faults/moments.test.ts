/** At random moments of a run: a process of its tasks is killed, alone or with its group; what it reads is edited. A stage's daemon. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { Random } from '../../model/random.ts';
import { ended, eventsIn, processesOf, startPipe } from '../support/checkout.ts';
import { openLedger } from './ledger.ts';
import {
  command,
  expectedResults,
  expectResults,
  openSubject,
  recover,
  type Subject,
  soundRecords,
} from './subject.ts';

const count = openLedger('moments');
const random = new Random(11, 'moments');
let subject: Subject;
let code: string;
beforeAll(async () => {
  subject = await openSubject();
  code = subject.read('stages/add.ts');
});
afterEach(() => {
  subject.write('data/raw.txt', 'raw\n');
  subject.write('stages/add.ts', code);
});
afterAll(() => subject.remove());

/** Starts a run, and does something some milliseconds after it has told so many events. @returns what it told. */
async function disturbed(pipeline: string, after: number, wait: number, disturb: (run: number) => void) {
  const child = startPipe(command, subject.root, ['run', pipeline, '--json', '-j', '2']);
  const end = ended(child);
  let seen = 0;
  await new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      seen += chunk.toString().split('\n').length - 1;
      if (seen >= after) resolve();
    });
    child.once('close', () => resolve());
  });
  if (wait > 0) await delay(wait);
  disturb(child.pid!);
  const told = await end;
  return { ...told, events: eventsIn(told.stdout) };
}

const isStart = ({ type }: { readonly type: string }) => type === 'task-started';

function groupOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]);
}

test.each(['process', 'process group'])('kill -9 of a %s that works for a run', { timeout: 240_000 }, async (what) => {
  subject.restore('new');
  const { events } = await subject.run(['relay', '-j', '2']);
  const [first, last] = [events.findIndex(isStart), events.findLastIndex(isStart)];
  for (let round = 0; round < 8; round++) {
    subject.restore('new');
    let killed = false;
    const told = await disturbed('relay', first + random.integer(last - first + 2), random.integer(20), (run) => {
      const others = processesOf(subject.root).filter((pid) => pid !== run);
      const victim = others[random.integer(Math.max(others.length, 1))];
      if (victim === undefined) return;
      try {
        const group = groupOf(victim);
        // A process that has not left the group of the run yet is none of its tasks'.
        if (group === groupOf(run)) return;
        process.kill(what === 'process' ? victim : -group, 'SIGKILL');
        killed = true;
      } catch {
        // It ended meanwhile.
      }
    });
    expect([0, 1], told.stderr + told.stdout).toContain(told.code);
    const failures = told.events.filter((event) => event.type === 'task-failed');
    expect(failures.length > 0).toBe(told.code === 1);
    for (const { failure } of failures) expect(failure.message).toMatch(/SIGKILL|exit code|ended/);
    if (told.code === 0) expectResults(subject);
    expect(processesOf(subject.root)).toEqual([]);
    await recover(subject);
    if (killed) count(`kill -9 of a ${what} of a task at a random moment`);
  }
});

test('an edit of an input, or of the code of a stage, at any moment of a run', { timeout: 240_000 }, async () => {
  const digestOf = (text: string) => createHash('sha256').update(text).digest('hex');
  const texts = ['raw\n', 'RAW\n', 'rather more\n'];
  subject.restore('new');
  const total = (await subject.run(['relay', '-j', '2'])).events.length;
  for (let round = 0; round < 8; round++) {
    subject.restore('new');
    const isCode = round % 2 === 1;
    const raw = texts[1 + random.integer(2)]!;
    const told = await disturbed('relay', random.integer(total), random.integer(20), () => {
      if (isCode) subject.write('stages/add.ts', code.replace("+ '\\n'", "+ '!\\n'"));
      else subject.write('data/raw.txt', raw);
    });
    expect([0, 1], told.stderr + told.stdout).toContain(told.code);
    // Whatever was recorded came from what its manifest names: for each text that the input ever was, by code old or new.
    for (const { manifest, outputs, task } of soundRecords(subject.cache)) {
      const [, n] = /^seed\[n=(\d)\]$/.exec(task) ?? [];
      if (n === undefined) continue;
      const from = texts.find((text) => digestOf(text) === manifest.inputs.from);
      expect(['\n', '!\n'].map((end) => digestOf(`${from}seed ${n}${end}`))).toContain(outputs.text!.digest);
    }
    if (isCode) {
      expect((await subject.run(['relay'])).code).toBe(0);
      expect(subject.read('results/relay/texts/1.txt')).toBe('raw\nseed 1!\n');
      subject.write('stages/add.ts', code);
    }
    expect((await subject.run(['relay'])).code).toBe(0);
    expectResults(subject, expectedResults(isCode ? 'raw\n' : raw));
    subject.write('data/raw.txt', 'raw\n');
    count(`edit of ${isCode ? 'the code of a stage' : 'an input'} at a random moment`);
  }
});

test('a process that a stage leaves behind writes into no artifact', { timeout: 60_000 }, async () => {
  subject.restore('new');
  const pidFile = join(subject.root, 'writer.pid');
  subject.write(
    'stages/daemon.ts',
    `import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { defineStage } from 'pipe/stage';
const writer = \`exec >> "$1"; echo $$ > "$2.new"; mv "$2.new" "$2"; while :; do echo more; sleep 0.01; done\`;
export default defineStage({
  description: 'Leaves a process behind.', params: {}, inputs: {},
  outputs: { text: { description: 'a text', path: 'text.txt' } },
  async run({ outputs }) {
    writeFileSync(outputs.text, 'begun');
    spawn('/bin/sh', ['-c', writer, 'sh', outputs.text, '${pidFile}'], { detached: true, stdio: 'ignore' }).unref();
    while (!existsSync('${pidFile}')) await setTimeout(5);
  },
});
`,
  );
  subject.write('pipelines/daemon.yaml', 'stages: { daemon: { uses: daemon, timeout: 30s } }\n');
  const told = await subject.run(['daemon']);
  expect(told.code, told.stdout).toBe(0);
  expect(told.events).toContainEqual(
    expect.objectContaining({ type: 'warning', message: expect.stringMatching(/left a process behind/) }),
  );
  expect(processesOf(subject.root)).toEqual([]);
  soundRecords(subject.cache);
  expect((await subject.pipe(['verify'])).code).toBe(0);
  expect((await subject.run(['daemon'])).executed).toEqual([]);
  count('a daemon left by a stage');
});
