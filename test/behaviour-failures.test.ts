/** What `pipe run` says, leaves and goes on with when a stage fails, in each of the ways in which stages fail. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { type CommandProject, ended, leftovers, openProjectFolder, repository, startPipe } from './support/checkout.ts';

/** A stage that does what `body` says; it prints 30 lines first. */
const stage = (body: string) => `import { spawnSync } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { defineStage, StageError } from 'pipe/stage';
export default defineStage({
  description: 'a stage of a test',
  params: { text: { type: 'string', description: 'what is written', default: 'text' } },
  inputs: { from: { description: 'anything', optional: true } },
  outputs: { out: { description: 'the text', path: 'out.txt' } },
  async run({ params, outputs, log }) {
    for (let line = 1; line <= 30; line++) log(\`line \${line} of the log\`);
    ${body}
  },
});
`;

/** `good` and `bad` depend on nothing, `after` on bad, and `behind` on good. */
const pipeline = `name: failing
stages:
  bad: { uses: bad, timeout: 20s }
  good: { uses: good }
  after: { uses: good, in: { from: bad.out } }
  behind: { uses: good, in: { from: good.out } }
publish:
  good.txt: good.out
  bad.txt: bad.out
`;

let project: CommandProject;
afterEach(() => project.remove());

function projectWith(body: string): CommandProject {
  return openProjectFolder({
    'pipelines/failing.yaml': pipeline,
    'stages/bad.ts': stage(body),
    'stages/good.ts': stage('writeFileSync(outputs.out, params.text);'),
  });
}

/** Nothing of the failed task is kept but its log: no record, no file in results/, nothing half-made. */
async function expectNothingHalfMade() {
  expect(leftovers(project.root)).toEqual([]);
  expect(existsSync(join(project.root, 'results/failing/bad.txt'))).toBe(false);
  const { stdout, code } = await project.pipe(['verify', '--json']);
  expect(code).toBe(0);
  return (JSON.parse(stdout) as { records: number }).records;
}

const lastLine = 'line 30 of the log';

const ways: readonly (readonly [way: string, body: string, words: string, lastWords: string])[] = [
  ['says what is wrong', "throw new StageError('the cat is away');", 'the cat is away', lastLine],
  ['throws what it did not expect', "throw new TypeError('no such mouse');", 'TypeError: no such mouse', lastLine],
  [
    'crashes',
    "process.kill(process.pid, 'SIGSEGV'); await new Promise(() => {});",
    'SIGSEGV (a memory error in native code)',
    lastLine,
  ],
  ['ends its process', 'process.exit(3);', 'exited with code 3', lastLine],
  ['computes without end', 'for (;;);', 'longer than its timeout of 0.4 s', lastLine],
  ['leaves its output unwritten', 'void outputs;', 'did not write its output `out` (out.txt)', lastLine],
  [
    'writes beside its folder',
    "writeFileSync(outputs.out, ''); writeFileSync('../elsewhere.txt', 'x');",
    'elsewhere.txt',
    lastLine,
  ],
  [
    'links out of its folder',
    "symlinkSync('/etc', outputs.out);",
    "a link out of the task's folder, to /etc",
    lastLine,
  ],
];

test.each(ways)('a stage that %s', async (_, body, words, lastWords) => {
  project = projectWith(body);
  if (body.includes('for (;;)')) project.edit('pipelines/failing.yaml', 'timeout: 20s', 'timeout: 0.4s');
  const { stdout, stderr, code } = await project.pipe(['run', 'failing', '-k']);
  expect(code).toBe(1);
  expect(stderr).toBe('');
  // The message may be wrapped to the width of the screen.
  expect(stdout.replaceAll(/\s+/g, ' ')).toContain('task bad failed: ');
  expect(stdout.replaceAll(/\s+/g, ' ')).toContain(words);
  expect(stdout).toMatch(new RegExp(`\\| .*${lastWords}`));
  expect(stdout).not.toContain('line 1 of the log');
  expect(stdout).toContain('pipe log bad');
  // What does not depend on it is done and published.
  expect(stdout).toMatch(/good done in/);
  expect(stdout).toMatch(/behind done in/);
  expect(stdout).toMatch(/^ {2}not run: after$/m);
  expect(project.read('results/failing/good.txt')).toBe('text');
  expect(await expectNothingHalfMade()).toBe(2);
  // The rest of the log is where it was said to be.
  const log = await project.pipe(['log', 'bad']);
  expect(log.stdout).toContain('line 1 of the log');
  expect(log.stdout).toContain(lastWords);
});

test('without -k nothing new starts after a failure; mended, the next run goes on', async () => {
  project = projectWith("throw new StageError('not yet');");
  project.edit('pipelines/failing.yaml', 'good: { uses: good }', 'good: { uses: good, needs: [bad] }');
  const { stdout, code } = await project.pipe(['run', 'failing', '-j', '1']);
  expect(code).toBe(1);
  expect(stdout).not.toMatch(/done in/);
  expect(await expectNothingHalfMade()).toBe(0);
  project.write('stages/bad.ts', stage("writeFileSync(outputs.out, 'mended');"));
  const { executed, code: mended } = await project.run(['failing']);
  expect({ executed, mended }).toEqual({ executed: ['after', 'bad', 'behind', 'good'], mended: 0 });
});

test('a stage that prints 200 MB, and then fails: the log keeps both ends, and the run its size', async (context) => {
  if (process.platform !== 'linux') context.skip("a process's highest memory is read from /proc, which is Linux");
  project = projectWith(
    "const block = ('y'.repeat(1023) + '\\n').repeat(1024); for (let i = 0; i < 200; i++) process.stdout.write(block);\n    log('the last line'); throw new StageError('enough');",
  );
  const child = startPipe(join(repository, 'dist/pipe.mjs'), project.root, ['run', 'failing', '-k']);
  let peak = 0;
  // The mark only rises: its last reading before the end is the highest that there was.
  const sample = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      peak = Math.max(peak, Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024);
    } catch {
      // It has ended.
    }
  }, 5);
  const { stdout, code } = await ended(child);
  clearInterval(sample);
  expect(code).toBe(1);
  expect(stdout.length).toBeLessThan(20_000);
  expect(stdout).toMatch(/\| the last line/);
  expect(peak).toBeGreaterThan(20);
  expect(peak).toBeLessThan(220);
  const log = await project.pipe(['log', 'bad']);
  expect(log.stdout.startsWith('line 1 of the log\n')).toBe(true);
  expect(log.stdout.trimEnd().endsWith('the last line')).toBe(true);
  expect(log.stdout).toMatch(/\[\d{9} bytes of output are left out here\]/);
  expect(await expectNothingHalfMade()).toBe(2);
});

test('a command that fails: its exit code, its words on stderr, and one that writes nothing', async () => {
  project = openProjectFolder({
    'pipelines/failing.yaml': `name: failing
stages:
  one: { run: "sh -c 'echo why not >&2; exit 7'", out: { file: a.txt } }
  two: { run: 'true', out: { file: b.txt } }
  three: { run: 'no-such-program --help', out: { file: c.txt } }
`,
  });
  const { stdout, code } = await project.pipe(['run', 'failing', '-k']);
  expect(code).toBe(1);
  expect(stdout).toMatch(/task one failed: the command ended with exit code 7\n {2}\$ sh -c .*\n {2}\| why not\n/);
  expect(stdout.replaceAll(/\s+/g, ' ')).toContain(
    'task two failed: ended well but did not write its output `file` (b.txt)',
  );
  expect(stdout).toMatch(/task three failed: .*no-such-program/);
  expect(leftovers(project.root)).toEqual([]);
  expect(readdirSync(project.root).sort()).toEqual(['cache', 'pipelines']);
});

test('an edited stage that does not parse is shown with its file and line, and nothing runs', async () => {
  project = projectWith('void outputs;');
  project.write('stages/bad.ts', 'export default {\n  run( {\n');
  const { stdout, stderr, code } = await project.pipe(['run', 'failing']);
  expect(code).toBe(2);
  expect(stdout + stderr).toMatch(/stages\/bad\.ts:3/);
});
