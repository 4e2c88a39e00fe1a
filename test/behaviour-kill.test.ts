/** `kill -9` of `pipe run` at random moments: nothing finished is lost, nothing half-made is found, nobody is left running. */
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Random } from '../model/random.ts';
import {
  type CommandProject,
  ended,
  eventsIn,
  leftovers,
  openProjectFolder,
  processesOf,
  repository,
  startPipe,
} from './support/checkout.ts';

const stage = `import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Writes a file and a folder.',
  params: { text: { type: 'string', description: 'what is written' } },
  inputs: { from: { description: 'what it begins with', optional: true } },
  outputs: { text: { description: 'the text', path: 'text.txt' }, folder: { description: 'copies', path: 'folder' } },
  run({ params, inputs, outputs, log }) {
    log('writing ' + params.text);
    const before = inputs.from === undefined ? '' : readFileSync(inputs.from, 'utf8');
    mkdirSync(join(outputs.folder, 'deep'), { recursive: true });
    writeFileSync(join(outputs.folder, 'deep', 'copy.txt'), before + params.text);
    writeFileSync(outputs.text, before + params.text);
  },
});
`;

/** Two layers of twelve tasks each: a module's, and a command's on top of it. */
const pipeline = `name: killed
stages:
  lower:
    uses: write
    matrix: { n: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] }
    with: { text: 'lower \${{ matrix.n }}' }
  upper:
    uses: write
    matrix: { n: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] }
    in: { from: lower.text }
    with: { text: ', upper \${{ matrix.n }}' }
publish:
  'texts/\${{ matrix.n }}.txt': upper.text
  'folders/\${{ matrix.n }}': upper.folder
`;

/** Waits until a condition holds; fails after half a minute. */
async function until(holds: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`after 30 s, still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

let project: CommandProject;
beforeEach((context) => {
  if (process.platform !== 'linux') context.skip('processes are found through /proc, which is Linux');
  project = openProjectFolder({ 'pipelines/killed.yaml': pipeline, 'stages/write.ts': stage });
});
afterEach(() => project.remove());

const command = join(repository, 'dist/pipe.mjs');

test('a run that is killed sixteen times in sixteen moments loses no finished task', async () => {
  const random = new Random(20, 'moments');
  const finished = new Set<string>();
  let killed = 0;
  for (let round = 0; round < 16; round++) {
    const child = startPipe(command, project.root, ['run', 'killed', '--json']);
    // So many milliseconds after so many lines: moments within the start, within tasks, between them and in publishing.
    const [lines, wait] = [random.integer(12), random.integer(60)];
    let seen = 0;
    const kill = () => setTimeout(() => child.kill('SIGKILL'), wait);
    if (lines === 0) kill();
    else
      child.stdout.on('data', (chunk: Buffer) => {
        const before = seen;
        seen += chunk.toString().split('\n').length - 1;
        if (before < lines && seen >= lines) kill();
      });
    const { code, stdout } = await ended(child);
    if (code === null) killed += 1;
    for (const event of eventsIn(stdout)) {
      if (event.type === 'task-started') expect(finished).not.toContain(event.task);
      if (event.type === 'task-done' || event.type === 'task-cached') finished.add(event.task);
    }
  }
  expect(killed).toBeGreaterThan(8);
  const last = await project.run(['killed']);
  expect(last.code).toBe(0);
  for (const task of last.executed) expect(finished).not.toContain(task);
  for (let n = 0; n < 12; n++) {
    expect(project.read(`results/killed/texts/${n}.txt`)).toBe(`lower ${n}, upper ${n}`);
    expect(project.read(`results/killed/folders/${n}/deep/copy.txt`)).toBe(`lower ${n}, upper ${n}`);
  }
  await until(() => processesOf(project.root).length === 0, 'every process of the killed runs has ended');
  const verified = await project.pipe(['verify', '--json']);
  expect(JSON.parse(verified.stdout)).toMatchObject({ records: 24, damaged: [], recompute: [] });
  // Whatever the kills left half-made goes when the next tasks run.
  expect((await project.run(['killed', 'lower', '--force'])).executed).toHaveLength(12);
  expect(leftovers(project.root)).toEqual([]);
  const again = await project.pipe(['run', 'killed']);
  expect(again).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^killed: up to date \(24 tasks, [\d.]+ s\)\n$/),
  });
});

test('what a killed run left half-made is gone after the next one that executes something', async () => {
  project.write('stages/slow.ts', stage.replace("log('writing", "for (;;); log('writing"));
  project.write(
    'pipelines/slow.yaml',
    "name: slow\nstages:\n  slow: { uses: slow, with: { text: a } }\n  shell: { run: 'sleep 600', out: { file: a.txt } }\n",
  );
  const child = startPipe(command, project.root, ['run', 'slow', '--json']);
  const starts = new Promise<void>((resolve) => {
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (eventsIn(text).filter(({ type }) => type === 'task-started').length === 2) resolve();
    });
  });
  const end = ended(child);
  await starts;
  await until(() => leftovers(project.root).some((name) => /work\/.*\/out$/.test(name)), 'tasks have their folders');
  child.kill('SIGKILL');
  expect((await end).code).toBe(null);
  expect(leftovers(project.root)).not.toEqual([]);
  await until(() => processesOf(project.root).length === 0, 'the endless stage and the command have ended');
  expect((await project.run(['killed', 'lower'])).executed).toHaveLength(12);
  expect(leftovers(project.root)).toEqual([]);
});
