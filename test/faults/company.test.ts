/** What others do meanwhile: other runs over the same cache, edits, processes left behind, the clock. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { ended, eventsIn, leftovers, startPipe } from '../support/checkout.ts';
import { openLedger } from './ledger.ts';
import { meeting, missingShim } from './shim.ts';
import {
  command,
  expectedResults,
  expectResults,
  openSubject,
  recover,
  type Subject,
  soundRecords,
} from './subject.ts';

const count = openLedger('company');
let subject: Subject;
beforeAll(async () => {
  subject = await openSubject();
});
afterEach(() => subject.write('data/raw.txt', 'raw\n'));
afterAll(() => subject.remove());

/** Starts runs at the same time. @returns what each told. */
async function together(requests: readonly (readonly string[])[]) {
  const ends = await Promise.all(
    requests.map((args) => ended(startPipe(command, subject.root, ['run', ...args, '--json', '-j', '2']))),
  );
  return ends.map((end) => ({ ...end, events: eventsIn(end.stdout) }));
}

test.each([
  ['two', 2, 4],
  ['eight', 8, 2],
])('%s runs at once execute each task once, and all end well', { timeout: 240_000 }, async (_, runs, rounds) => {
  for (let round = 0; round < rounds; round++) {
    subject.restore('new');
    // Overlapping targets: what one run wants another may be at.
    const targets = [['relay'], ['relay', 'last'], ['relay', 'seed'], ['relay', 'joined', 'seed[n=2]']];
    const told = await together(Array.from({ length: runs }, (_, i) => targets[i % targets.length]!));
    for (const { code, stderr, stdout } of told) expect(code, stderr + stdout).toBe(0);
    const executed = told.flatMap(({ events }) =>
      events.flatMap((event) => (event.type === 'task-done' && event.origin === 'executed' ? [event.task] : [])),
    );
    expect(executed.sort()).toEqual([...new Set(executed)]);
    expectResults(subject);
    expect(soundRecords(subject.cache)).toHaveLength(4);
    expect(leftovers(subject.root)).toEqual([]);
    expect((await subject.pipe(['verify'])).code).toBe(0);
    count(`${_} runs over one cache`, runs);
  }
});

test('a run beside one that is killed takes over what it was at', { timeout: 120_000 }, async () => {
  for (const after of [8, 14, 20, 26]) {
    subject.restore('new');
    const doomed = startPipe(command, subject.root, ['run', 'relay', '--json', '-j', '2']);
    let seen = 0;
    doomed.stdout.on('data', (chunk: Buffer) => {
      seen += chunk.toString().split('\n').length - 1;
      if (seen >= after) doomed.kill('SIGKILL');
    });
    const [, { code, stderr }] = await Promise.all([
      ended(doomed),
      ended(startPipe(command, subject.root, ['run', 'relay', '--json', '-j', '2'])),
    ]);
    expect(code, stderr).toBe(0);
    expectResults(subject);
    await recover(subject);
    count('kill -9 of one of two runs');
  }
});

/** A stage that waits in the middle of its work until a file is there; `begun` is written when it has read its input. */
const gated = `import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { defineStage } from 'pipe/stage';
const version = 'one';
export default defineStage({
  description: 'Copies a text when it may.',
  params: { folder: { type: 'string', description: 'where the gate is' } },
  inputs: { from: { description: 'the text' } },
  outputs: { text: { description: 'the text', path: 'text.txt' } },
  async run({ params, inputs, outputs }) {
    const text = readFileSync(inputs.from, 'utf8');
    writeFileSync(params.folder + '/begun', '');
    while (!existsSync(params.folder + '/gate')) await setTimeout(5);
    writeFileSync(outputs.text, version + ' ' + text);
  },
});
`;

/** Runs the gated pipeline, and does something while its task is in the middle of its work. */
async function meanwhile(act: () => void) {
  const begun = join(subject.root, 'begun');
  const gate = join(subject.root, 'gate');
  for (const path of [begun, gate]) rmSync(path, { force: true });
  const child = startPipe(command, subject.root, ['run', 'gated', '--json']);
  const end = ended(child);
  await expect.poll(() => readIf(begun), { timeout: 30_000 }).toBe('');
  act();
  writeFileSync(gate, '');
  const told = await end;
  return { ...told, events: eventsIn(told.stdout) };
}

function readIf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

test('an input that is edited while a task runs leaves no result; stage code that is edited leaves that of the old code', {
  timeout: 240_000,
}, async () => {
  subject.restore('new');
  subject.write('stages/gated.ts', gated);
  subject.write(
    'pipelines/gated.yaml',
    `stages:
  gated: { uses: gated, in: { from: { file: data/raw.txt } }, with: { folder: '${subject.root}' } }
publish: { out.txt: gated.text }
`,
  );
  const published = () => readIf(join(subject.root, 'results/gated/out.txt'));
  const again = async () => {
    writeFileSync(join(subject.root, 'gate'), '');
    return await subject.run(['gated']);
  };

  // The same length, another length, away, and away and back again as it was.
  for (const edit of [
    () => subject.write('data/raw.txt', 'RAW\n'),
    () => subject.write('data/raw.txt', 'longer than before\n'),
    () => rmSync(join(subject.root, 'data/raw.txt')),
  ]) {
    subject.write('data/raw.txt', `before ${Math.random()}\n`);
    const told = await meanwhile(edit);
    expect(told.code).toBe(1);
    expect(told.events.find(({ type }) => type === 'task-failed')).toMatchObject({
      failure: { kind: 'input-changed', message: expect.stringContaining('changed while the task ran') },
    });
    expect(soundRecords(subject.cache)).toEqual([]);
    expect(published()).toBe(null);
    subject.write('data/raw.txt', 'raw\n');
    count('edit of an input while a task runs');
  }
  expect(await again()).toMatchObject({ code: 0, executed: ['gated'] });
  expect(published()).toBe('one raw\n');

  // The task that runs is of the code that its key names; the edit makes it stale.
  subject.write('stages/gated.ts', gated.replace("'one'", "'two'"));
  const told = await meanwhile(() => subject.write('stages/gated.ts', gated.replace("'one'", "'three'")));
  expect(told.code, told.stdout).toBe(0);
  expect(published()).toBe('two raw\n');
  expect(await again()).toMatchObject({ code: 0, executed: ['gated'] });
  expect(published()).toBe('three raw\n');
  subject.write('stages/gated.ts', gated.replace("'one'", "'two'"));
  expect(await again()).toMatchObject({ code: 0, executed: [] });
  expect(published()).toBe('two raw\n');
  count('edit of stage code while a task runs', 3);
});

/** Keeps its output open and writes into it for ever; says who it is when it has begun. */
const writer = `exec >> "$1" 2>&1
echo $$ > "$2"
while :; do echo more; sleep 0.01; done
`;

/** Ways in which a command leaves such a process behind; WRITER starts it. */
const daemons: readonly (readonly [way: string, line: string])[] = [
  ['in the background', 'WRITER &'],
  ['in a session of its own', 'setsid -f WRITER'],
  ['without environment or folder', '(cd /; exec env -i /usr/bin/setsid -f WRITER)'],
];

test.each(daemons)('a process that a command leaves behind %s writes into no artifact', async (way, line) => {
  subject.restore('new');
  const pidFile = join(subject.root, 'writer.pid');
  rmSync(pidFile, { force: true });
  subject.write('writer.sh', writer);
  const start = line.replace('WRITER', `/bin/sh ${subject.root}/writer.sh \${{ out.text }} ${pidFile}`);
  subject.write(
    'pipelines/daemon.yaml',
    `stages:
  daemon:
    timeout: 20s
    run: |
      echo begun > \${{ out.text }}
      ${start}
      until [ -s ${pidFile} ]; do sleep 0.01; done
    shell: true
    out: { text: text.txt }
publish: { text.txt: daemon.text }
`,
  );
  const told = await subject.run(['daemon']);
  expect(told.code, told.stdout).toBe(0);
  expect(told.events).toContainEqual(
    expect.objectContaining({
      type: 'warning',
      message: expect.stringMatching(/left a process behind, which was ended/),
    }),
  );
  const pid = Number(readFileSync(pidFile, 'utf8'));
  expect(readIf(`/proc/${pid}/stat`)?.split(' ')[2] ?? 'X').toMatch(/[ZX]/);
  soundRecords(subject.cache);
  expect((await subject.pipe(['verify'])).code).toBe(0);
  expect((await subject.run(['daemon'])).executed).toEqual([]);
  count(`a daemon left ${way}`);
});

test('a stage that returns before it has closed its output is told so', async () => {
  subject.restore('new');
  subject.write(
    'stages/hasty.ts',
    `import { openSync, writeSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Forgets to close.', params: {}, inputs: {},
  outputs: { text: { description: 'a text', path: 'text.txt' } },
  run: ({ outputs }) => void writeSync(openSync(outputs.text, 'w'), 'begun'),
});
`,
  );
  subject.write('pipelines/hasty.yaml', 'stages: { hasty: { uses: hasty } }\n');
  const told = await subject.run(['hasty']);
  expect(told.code).toBe(1);
  expect(told.events.find(({ type }) => type === 'task-failed')).toMatchObject({
    failure: { message: expect.stringContaining('ended while it held text.txt open') },
  });
  count('an output left open by a stage');
});

test('a clock that steps, back or ahead, in the middle of a run', { timeout: 240_000 }, async (context) => {
  const missing = missingShim();
  if (missing !== null) context.skip(missing);
  for (const clockSteps of [-86_400, -60, 60, 86_400, 400 * 86_400]) {
    for (const at of [2, 25, 60]) {
      subject.restore('new');
      const fault = { under: subject.root, operations: 'write', at, what: { clockSteps } } as const;
      expect((await subject.run(['relay'], meeting(fault))).code).toBe(0);
      expectResults(subject);
      // In its own time again, nothing is stale, and an edit is.
      expect((await subject.run(['relay'])).executed).toEqual([]);
      subject.write('data/raw.txt', 'RAW\n');
      expect((await subject.run(['relay'])).executed).toHaveLength(4);
      expectResults(subject, expectedResults('RAW\n'));
      subject.write('data/raw.txt', 'raw\n');
      count('step of the clock');
    }
  }
});
