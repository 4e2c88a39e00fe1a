/** What the command says to honest mistakes: one message that names the place and the way out, and nothing begun that cannot end. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { type CommandProject, openProjectFolder, repository } from './support/checkout.ts';

let project: CommandProject;
afterEach(() => project.remove());

const matrix = 'matrix: { k: [1, 2, 3] }';
const touch = "run: ['touch', '${{ out.x }}'], out: { x: x }";

test('a secret that is not set is told before anything starts, once for all tasks that need it', async () => {
  project = openProjectFolder({
    'pipelines/p.yaml': `stages:
  slow: { ${touch} }
  fetch: { ${matrix}, needs: [slow], secrets: PIPE_TEST_TOKEN, ${touch} }
  after: { in: { all: { all: fetch.x } }, ${touch} }
`,
  });
  const { stdout, code } = await project.pipe(['run']);
  expect(code).toBe(1);
  expect(stdout.match(/PIPE_TEST_TOKEN is not set/g)).toHaveLength(1);
  expect(stdout.replaceAll('\n', ' ')).toContain('`export PIPE_TEST_TOKEN=...` (pipelines/p.yaml:3)');
  expect(stdout).toContain('3 failed, 2 not run');
  expect(stdout).toContain('failed: fetch (3 tasks)');
  expect(stdout).toContain('not run: after, slow');
  expect(stdout).toContain('-k goes on');
  const second = await project.pipe(['run', '-k']);
  expect(second.stdout).toMatch(/slow done in/);
  expect(second.stdout).toContain('1 run, 3 failed, 1 not run');
  expect(second.stdout).not.toContain('-k goes on');
  expect((await project.pipe(['run'], { PIPE_TEST_TOKEN: 'abc' })).code).toBe(0);
});

test('after a failure what was not run is named by its stage, and the failed command is shown', async () => {
  project = openProjectFolder({
    'pipelines/p.yaml': `params: { n: 7 }
stages:
  bad: { run: 'sh -c "exit 3" \${{ params.n }} \${{ out.x }}', out: { x: x } }
  after: { ${matrix}, needs: [bad], ${touch} }
`,
  });
  const { stdout, code } = await project.pipe(['run', '-j', '1']);
  expect(code).toBe(1);
  expect(stdout).toContain("$ sh -c 'exit 3' 7 ${{ out.x }}");
  expect(stdout).toContain('not run: after (3 tasks)');
  expect(stdout.trimEnd().split('\n')).toHaveLength(4);
});

const notStages: readonly (readonly [mistake: string, module: string, words: readonly string[]])[] = [
  ['exports something else', 'export const stage = 1;', ['stages/s.ts: is no stage']],
  [
    'has a wrong type and a misspelt field',
    "export default { description: 'd', params: { rank: { type: 'int', descripton: 'r' } }, inputs: {}, outputs: {}, run() {} };",
    ['params.rank.type: must be one of string, integer', 'params.rank: unknown key "descripton"'],
  ],
  [
    'writes one output into another',
    "export default { description: 'd', params: {}, inputs: {}, outputs: { a: { path: 'a', description: 'a' }, b: { path: './a/b', description: 'b' } }, run() {} };",
    ['outputs.b.path: must not be inside that of outputs.a'],
  ],
  [
    'imports a package that is not installed',
    "import x from '@nobody/nothing/part';\nexport default x;",
    ['npm install @nobody/nothing\n', 'stages/s.ts:1:14'],
  ],
];

test.each(notStages)('a stage that %s is refused with its place and without a stack', async (_, module, words) => {
  project = openProjectFolder({ 'pipelines/p.yaml': 'stages:\n  a: { uses: s }\n', 'stages/s.ts': module });
  const { stdout, stderr, code } = await project.pipe(['run']);
  expect({ stdout, code }).toEqual({ stdout: '', code: 2 });
  expect(stderr).toMatch(/^pipelines\/p\.yaml:2:14: /);
  for (const word of words) expect(stderr).toContain(word);
  expect(stderr).not.toMatch(/^ +at /m);
});

test('outputs of a command at one path, a file taken for an artifact, a name that is nowhere: each with its place', async () => {
  project = openProjectFolder({
    'pipelines/p.yaml': `stages:
  twice: { run: ['touch', '\${{ out.x }}', '\${{ out.y }}'], out: { x: x, y: ./x } }
  inside: { run: ['touch', '\${{ out.x }}', '\${{ out.y }}'], out: { x: x/y, y: x } }
  file: { in: { data: data/set.csv }, ${touch} }
  undeclared: { run: ['cp', '\${{ in.data }}', '\${{ out.x }}'], out: { x: x } }
`,
  });
  const { stderr, code } = await project.pipe(['status']);
  expect(code).toBe(2);
  expect(stderr).toMatch(/^pipelines\/p\.yaml:2:.*the output "x" is at the path of the output "y"$/m);
  expect(stderr).toMatch(/^pipelines\/p\.yaml:3:.*the output "x" lies inside the output "y"$/m);
  expect(stderr).toMatch(/^pipelines\/p\.yaml:4:.*"data\/set.csv" is not an artifact$/m);
  expect(stderr).toContain('a file of the project is written { file: data/set.csv }');
  expect(stderr).toContain('nothing is declared under "in"');
});

test('a pipeline is found by its name and its file, wherever one stands; one that is not there is said to be missing', async () => {
  project = openProjectFolder({ 'pipelines/one.yaml': `stages: { a: { ${touch} } }`, 'pipelines/two.yml': '' });
  for (const name of ['one', 'one.yaml', './one.yaml', 'pipelines/one', 'pipelines/one.yaml']) {
    const { stdout } = await project.pipe(['run', name, '-n']);
    expect(stdout).toMatch(/^one: 0 of 1 task up to date/);
  }
  const { stderr, code } = await project.pipe(['run', 'ones']);
  expect(code).toBe(2);
  expect(stderr).toBe('there is no pipeline ones\n  did you mean "one"?\n');
});

test('the version and the help are where one looks for them', async () => {
  project = openProjectFolder();
  const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
  expect(await project.pipe(['--version'])).toMatchObject({ stdout: `${version}\n`, code: 0 });
  expect((await project.pipe(['help', 'run'])).stdout).toMatch(/^Usage: pipe run /);
});

test('an edited command and another stage module are told as what they were and are', async () => {
  const pipelineOf = (line: string) =>
    `stages:\n  a:\n    shell: true\n    out: { x: x }\n    run: |\n      echo one\n      ${line} > "$PIPE_OUT_x"\n`;
  project = openProjectFolder({ 'pipelines/p.yaml': pipelineOf('echo two') });
  await project.pipe(['run']);
  project.write('pipelines/p.yaml', pipelineOf('exit 4'));
  expect((await project.pipe(['why', 'a'])).stdout).toBe(
    'a must run\n  the command changed: echo one\\necho two > "$PIPE_OUT_x" -> echo one\\nexit 4 > "$PIPE_OUT_x"\n',
  );
  expect((await project.pipe(['run'])).stdout).toContain('  $ echo one\n    exit 4 > "$PIPE_OUT_x"\n');
  project.write('pipelines/p.yaml', 'stages:\n  a: { uses: instructions }\n');
  expect((await project.pipe(['why', 'a'])).stdout).toMatch(/the stage module changed: echo one.* -> instructions$/m);
});

test('an expression without quotes between braces is told once, with what to write', async () => {
  project = openProjectFolder({
    'pipelines/p.yaml': 'params: { n: 1 }\nstages:\n  a: { run: echo ${{ params.n }}, env: { B: ${{ params.n }} } }\n',
  });
  expect(
    (await project.pipe(['status'])).stderr,
  ).toBe(`pipelines/p.yaml:3:18: an expression between { } or [ ] needs quotes
  3 |   a: { run: echo \${{ params.n }}, env: { B: \${{ params.n }} } }
    |                  ^^
    = put the whole value into quotes: YAML reads the braces otherwise
`);
});

test('a script of the project that a command does not see is named, with what to write in its place', async () => {
  project = openProjectFolder({
    'pipelines/p.yaml': `stages:
  listed: { run: ['node', 'scripts/the score.mjs', '7'] }
  shell: { shell: true, run: "node scripts/score.mjs > log.txt" }
  absent: { run: ['no-such-program'] }
`,
    'scripts/the score.mjs': '',
    'scripts/score.mjs': '',
  });
  const { stdout } = await project.pipe(['run', '-k']);
  const text = stdout.replaceAll(/\s+/g, ' ');
  expect(text).toContain(
    '= the command runs in a folder of its own and sees no scripts/the score.mjs: write in: { the_score: { file: scripts/the score.mjs } } and ${{ in.the_score }} in its place',
  );
  expect(text).toContain('sees no scripts/score.mjs: write in: { score: { file: scripts/score.mjs } }');
  expect(text).toContain('there is no program no-such-program in PATH');
});

test.each(['18.20.8', '20.18.9'])('an old Node, %s, is told which one is wanted', async (version) => {
  project = openProjectFolder();
  const pretend = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`;
  const environment = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(pretend)}` };
  expect(await project.pipe(['run'], environment)).toMatchObject({
    code: 2,
    stderr: `pipe needs Node 20.19 or newer, and this is Node ${version}\n`,
  });
});
