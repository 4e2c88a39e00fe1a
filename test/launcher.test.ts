/** Commands end in the same way, in the same words, whether a launcher starts them or, where there is none, a worker. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import type { Event } from '../engine/events.ts';
import { launcherProgram } from '../engine/launcher.ts';
import { folderWith, pipeCommand, runPipe } from './support/pipe_command.ts';

const hasLauncher = launcherProgram(join(import.meta.dirname, '..')) !== null;
const ways = hasLauncher ? ['launcher', 'worker'] : ['worker'];
if (!hasLauncher)
  console.log('skipped: what a launcher does (dist/launcher is built on Linux, where there is a C++ compiler)');
const envOf = (way: string): Record<string, string> => (way === 'worker' ? { PIPE_NATIVE: 'off' } : {});

const eventsIn = (lines: readonly string[]) => lines.map((line) => JSON.parse(line) as Event);

/** Stage -> its lines, and what becomes of it: null when it ends well. */
const commands: Readonly<Record<string, readonly [lines: string, failure: RegExp | null]>> = {
  words: [`run: [printf, "%s|", "a b", "$HOME", "'", "", "ü\\n"]`, null],
  shell: ['run: echo one; echo two >&2\n    shell: true', null],
  code: ['run: exit 3\n    shell: true', /^task code failed: the command ended with exit code 3$/],
  signal: ['run: kill -TERM $$\n    shell: true', /^task signal failed: the command was ended by SIGTERM$/],
  group: ['run: kill -KILL 0\n    shell: true', /was ended by SIGKILL/],
  absent: ['run: [no-such-program, x]', /^task absent failed: there is no program no-such-program in PATH$/],
  file: [
    'run: ["{{in:text}}"]\n    in: { text: { file: text.txt } }',
    /the command did not start: .*text\.txt: EACCES$/,
  ],
  huge: [
    'run: [echo, "${{ params.huge }}"]',
    /the command did not start: echo: E2BIG$|^task huge failed: spawn E2BIG$/,
  ],
  slow: ['run: sleep 60 & sleep 60\n    shell: true\n    timeout: 1s', /took longer than its timeout of 1 s$/],
  leaves: ['run: setsid sleep 60 & sleep 0.2\n    shell: true', null],
};

test.each(ways)('ends of commands that a %s starts', async (way) => {
  const stages = Object.entries(commands).map(([name, [lines]]) => `  ${name}:\n    ${lines}\n    out: {}\n`);
  const folder = folderWith({
    'pipelines/ends.yaml': `name: ends\nparams: { huge: ${'x'.repeat(200_000)} }\nstages:\n${stages.join('')}`,
    'text.txt': 'no program',
  });
  const { lines, err } = await runPipe(folder.root, ['run', '--json', '--keep-going'], { env: envOf(way) });
  const events = eventsIn(lines);
  expect(events.at(-1), err).toMatchObject({ type: 'run-finished' });
  for (const [name, [, failure]] of Object.entries(commands)) {
    const end = events.find((event) => 'task' in event && event.task === name && /done|failed/.test(event.type));
    if (failure === null) expect(end, name).toMatchObject({ type: 'task-done' });
    else expect(end, name).toMatchObject({ type: 'task-failed', failure: { message: expect.stringMatching(failure) } });
  }
  const [warning] = events.filter(({ type }) => type === 'warning');
  expect(warning).toMatchObject({
    task: 'leaves',
    message: expect.stringMatching(/^left a process behind.*: sleep \(/),
  });
  const log = async (task: string) => (await folder.pipe(['log', task])).out;
  expect(await log('words')).toContain("a b|$HOME|'||ü\n|");
  expect(await log('shell')).toMatch(/one\ntwo\n/);
});

const isThere = (pid: string) => !/^$|\) [ZX]/.test(readIf(`/proc/${pid}/stat`));

test.runIf(hasLauncher)(
  'what a command started ends with a run that is killed, whatever session it went to',
  async () => {
    const folder = folderWith({});
    const pidFile = join(folder.root, 'pid');
    const inner = `env -i /usr/bin/setsid /bin/sh -c "echo \\$\\$ > ${pidFile}; exec sleep 600"`;
    folder.write(
      'pipelines/deep.yaml',
      `stages:\n  deep:\n    run: |\n      (cd /; ${inner}) & sleep 600\n    shell: true\n    out: {}\n`,
    );
    const run = spawn(process.execPath, [pipeCommand, 'run'], { cwd: folder.root, stdio: 'ignore' });
    onTestFinished(() => void run.kill('SIGKILL'));
    await until(() => readIf(pidFile) !== '');
    const pid = readIf(pidFile).trim();
    expect(isThere(pid)).toBe(true);
    run.kill('SIGKILL');
    await until(() => !isThere(pid));
  },
);

test.runIf(hasLauncher)(
  'a launcher that is killed fails its task, what it had started ends, and the next one goes on',
  async () => {
    const folder = folderWith({});
    const pidFile = join(folder.root, 'pid');
    folder.write(
      'pipelines/orphan.yaml',
      `stages:
  orphan:
    run: |
      [ -e ${pidFile} ] && exit
      echo $$ > ${pidFile}
      kill -KILL $PPID
      exec sleep 600
    shell: true
    retry: 1
    out: {}
`,
    );
    const { code, lines, out } = await runPipe(folder.root, ['run', '--json']);
    expect(code, out).toBe(0);
    const retried = eventsIn(lines).find(({ type }) => type === 'task-retried');
    const message = expect.stringMatching(/the process that started it ended with SIGKILL/);
    expect(retried).toMatchObject({ failure: { kind: 'crash', message } });
    expect(isThere(readIf(pidFile).trim())).toBe(false);
  },
);

function readIf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** Waits until something holds, no longer than ten seconds. */
async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1000 && !holds(); tries++) await delay(10);
  expect(holds()).toBe(true);
}
