/** The `pipe` command from outside: what it prints, what it leaves, and its exit codes. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { buildProgram } from '../cli/program.ts';
import { repository } from './support/checkout.ts';
import { folderWith, speaker } from './support/pipe_command.ts';

const talk = `name: talk
params: { words: [a, b], fail: false }
profiles: { short: { words: [c] } }
stages:
  say:
    uses: say
    matrix: { word: '\${{ params.words }}' }
    with: { word: '\${{ matrix.word }}' }
  last: { uses: say, in: { from: { all: say.said } }, with: { fail: '\${{ params.fail }}' } }
publish: { said.txt: last.said }
`;

const project = () =>
  folderWith({ 'pipelines/talk.yaml': talk, 'stages/say.ts': speaker, 'package.json': '{ "type": "module" }' });

describe('a project made by init', () => {
  it('runs; runs again in one line; says what an edit makes stale, and why', async () => {
    const { root, write, pipe } = folderWith({});
    expect((await pipe(['init', '.'])).code).toBe(0);
    const first = await pipe(['run']);
    expect(first).toMatchObject({ code: 0, err: '' });
    expect(first.out).toMatch(/^\[1\/4\] sieve\[limit=\d+\] done in [\d.]+ s$/m);
    expect(first.lines.at(-1)).toBe('  results/primes/: table.txt');
    expect(readFileSync(join(root, 'results/primes/table.txt'), 'utf8')).toBe(
      '1000 0.1680\n10000 0.1229\n100000 0.0959\n',
    );

    const second = await pipe(['run']);
    expect(second.code).toBe(0);
    expect(second.lines).toHaveLength(1);
    expect(second.lines[0]).toMatch(/^primes: up to date \(4 tasks, [\d.]+ s\)$/);

    const stage = readFileSync(join(root, 'stages/sieve.ts'), 'utf8');
    write(
      'stages/sieve.ts',
      stage.replace('let primes = 0;', '// A comment makes nothing stale.\n    let primes = 0;'),
    );
    expect(await pipe(['status', '--check'])).toMatchObject({ code: 0, lines: ['primes: up to date (4 tasks)'] });

    write('stages/sieve.ts', stage.replace('toFixed(4)', 'toFixed(2)'));
    const stale = await pipe(['status', '--check']);
    expect(stale.code).toBe(1);
    expect(stale.lines[0]).toBe('primes: 0 of 4 tasks up to date, 3 must run, 1 may have to');
    expect(stale.lines[1]).toMatch(/^ {2}sieve \(3 tasks\): stages\/sieve\.ts changed: [0-9a-f]{12} -> [0-9a-f]{12}$/);
    expect(stale.lines[2]).toBe('  table: waits for sieve');
    const why = await pipe(['why', 'table']);
    expect(why.lines[0]).toBe('table may have to run');
    expect(why.lines[2]).toBe('because sieve (3 tasks) must run');

    write('stages/sieve.ts', stage);
    expect((await pipe(['run', '-n'])).lines).toEqual(['primes: up to date (4 tasks)']);
  });

  it('passes a type check once its types are installed, and keeps the files of a package that is there', async () => {
    const { root, write, pipe } = folderWith({ 'package.json': '{ "type": "module", "name": "mine" }' });
    expect((await pipe(['init'])).out).not.toContain('package.json');
    mkdirSync(join(root, 'node_modules'));
    symlinkSync(repository, join(root, 'node_modules/pipe'));
    symlinkSync(join(repository, 'node_modules/@types'), join(root, 'node_modules/@types'));
    const check = () => spawnSync(join(repository, 'node_modules/.bin/tsc'), { cwd: root, encoding: 'utf8' }).stdout;
    expect(check()).toBe('');
    write(
      'stages/sieve.ts',
      readFileSync(join(root, 'stages/sieve.ts'), 'utf8').replace('params.limit);', 'params.lim);'),
    );
    expect(check()).toContain("'lim' does not exist");
  });

  it('is not written over another', async () => {
    const { pipe } = folderWith({ 'stages/sieve.ts': 'mine' });
    expect(await pipe(['init'])).toMatchObject({
      code: 2,
      out: '',
      err: 'stages/sieve.ts is there already\n  choose another folder: pipe init FOLDER\n',
    });
  });
});

describe('run', () => {
  it('takes targets, a profile, params and sets, and later commands look at the same', async () => {
    const { root, pipe } = project();
    expect((await pipe(['run', 'talk', 'say[*b]'])).lines[0]).toMatch(/^\[1\/1\] say\[word=b\] done/);
    expect(existsSync(join(root, 'results/talk/said.txt'))).toBe(false);
    const run = await pipe(['run', 'pipelines/talk.yaml', '--profile', 'short', '--set', 'last.word=bye', '-j', '1']);
    expect(run.lines.map((line) => line.replace(/ in .*/, ''))).toEqual([
      '[1/2] say[word=c] done',
      '[2/2] last done',
      'talk: done',
      '  results/talk/: said.txt',
    ]);
    expect(readFileSync(join(root, 'results/talk/said.txt'), 'utf8')).toBe('bye');
    expect((await pipe(['status'])).lines).toEqual(['talk (profile short): up to date (2 tasks)']);
    expect((await pipe(['status', 'talk', '--check'])).code).toBe(1);
    expect((await pipe(['why', 'last'])).lines[0]).toBe('last is up to date');
    // What is named replaces what the last run was asked with, and nothing else of it.
    expect((await pipe(['why', 'last', '--set', 'say.fail=true'])).lines).toEqual([
      'last may have to run',
      '  waits for say',
      'because say[word=c] must run',
      '  parameter fail changed: false -> true',
    ]);
    expect((await pipe(['why', 'last', '--param', 'words=[c]'])).lines[0]).toBe('last is up to date');
    expect((await pipe(['status', '--set', 'last.word=hello'])).lines).toEqual([
      'talk (profile short): 1 of 2 tasks up to date, 1 must run',
      '  last: parameter word changed: "bye" -> "hello"',
    ]);
    const forced = await pipe(['run', 'last', '--profile', 'short', '--set', 'last.word=bye', '--force']);
    expect(forced.lines[0]).toMatch(/^\[2\/2\] last done/);
  });

  it('says of a failed task its name, the reason, its last lines and where the rest is, and ends with 1', async () => {
    const { pipe } = project();
    const { code, lines } = await pipe(['run', '--param', 'fail=true']);
    expect(code).toBe(1);
    const at = lines.findIndex((line) => line.includes('failed'));
    expect(lines[at]).toBe('[3/3] task last failed: no voice');
    expect(lines.slice(at + 1, at + 11)).toEqual(Array.from({ length: 10 }, (_, line) => `  | line ${line + 21}`));
    expect(lines[at + 11]).toBe('  the whole log: pipe log last');
    expect(lines.at(-1)).toMatch(/^talk: failed in [\d.]+ s: 2 run, 1 failed$/);
    expect((await pipe(['log', 'last'])).lines.slice(0, 30)).toEqual(
      Array.from({ length: 30 }, (_, line) => `line ${line + 1}`),
    );
  });

  it('tells everything as JSON lines', async () => {
    const { pipe } = project();
    const { code, lines } = await pipe(['run', '--json']);
    expect(code).toBe(0);
    const events = lines.map((line) => JSON.parse(line));
    expect(events[0]).toMatchObject({ type: 'run-started', pipeline: 'talk', wanted: 3 });
    expect(events.filter(({ type }) => type === 'task-done').map(({ task }) => task)).toContain('last');
    expect(events.at(-1)).toMatchObject({ type: 'run-finished', status: 'done', counts: { executed: 3 } });
  });

  const endless = (stubborn: boolean) => `stages:
  wait:
    shell: true
    run: ${stubborn ? "trap '' TERM INT; " : ''}echo $$ > pid; echo started; while true; do sleep 0.1; done
    out: { pid: pid }
`;

  it.each([false, true])(
    'stops cleanly at Ctrl-C, whatever the command does about signals (ignored: %s)',
    async (stubborn) => {
      const { root, pipe } = folderWith({ 'pipelines/wait.yaml': endless(stubborn), 'package.json': '{}' });
      let sent = false;
      const { code, lines } = await pipe(['run', '--json'], (out, kill) => {
        if (!sent && out.includes('"task-started"')) kill('SIGINT');
        sent ||= out.includes('"task-started"');
      });
      expect(code).toBe(130);
      expect(JSON.parse(lines.at(-1)!)).toMatchObject({ type: 'run-finished', status: 'interrupted' });
      expect(processesIn(root)).toEqual([]);
      expect((await pipe(['verify'])).code).toBe(0);
    },
  );
});

/** A task that never ends: it says twice in a while that it is at work, and when it has been asked to end, that it was. */
const restless = `import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Never ends.',
  params: {},
  inputs: {},
  outputs: { none: { description: 'Nothing.', path: 'none' } },
  run: ({ progress, signal }) => new Promise(() => setInterval(() => progress(1, signal.aborted ? 2 : 3), 20)),
});
`;

describe('a run that is left before its end', () => {
  const leave = () =>
    folderWith({
      'pipelines/endless.yaml': 'stages: { rest: { uses: restless } }',
      'stages/restless.ts': restless,
      'package.json': '{}',
    });

  it('by a second Ctrl-C ends at once, with 130', async () => {
    // A busy machine may let the half second pass in which the first is at work: then there was no second, and once more.
    for (let attempt = 1; ; attempt++) {
      const { root, pipe } = leave();
      let sent = 0;
      const { code, out } = await pipe(['run', '--json'], (text, kill) => {
        const [isAtWork, wasAsked] = [text.includes('"total":3'), text.includes('"total":2')];
        if (sent === 0 && isAtWork) kill('SIGINT');
        else if (sent === 1 && wasAsked) kill('SIGINT');
        else return;
        sent += 1;
      });
      expect(code).toBe(130);
      const isOrderly = out.includes('"run-finished"');
      if (isOrderly && attempt < 4) continue;
      expect({ isOrderly, sent }).toEqual({ isOrderly: false, sent: 2 });
      // The worker sees within a moment that nobody is there any more.
      await vi.waitUntil(() => processesIn(root).length === 0, 30_000);
      return;
    }
  });

  it('by the reader of its output is interrupted, not done', async () => {
    const { root } = leave();
    const script = '{ "$0" "$1" run --json; echo $? > code; } | head -n 1';
    const command = join(import.meta.dirname, '../dist/pipe.mjs');
    const first = execFileSync('sh', ['-c', script, process.execPath, command], { cwd: root, encoding: 'utf8' });
    expect(JSON.parse(first)).toMatchObject({ type: 'run-started' });
    expect(readFileSync(join(root, 'code'), 'utf8')).toBe('130\n');
  });
});

/** Command lines of processes whose working folder lies in `root`. */
function processesIn(root: string): string[] {
  const script = 'for p in /proc/[0-9]*; do case "$(readlink $p/cwd)" in "$0"*) echo $p;; esac; done';
  return execFileSync('sh', ['-c', script, root], { encoding: 'utf8' }).split('\n').filter(Boolean);
}

describe('what is wrong', () => {
  it('in the file is shown with its place and ends with 2, having run nothing', async () => {
    const { root, pipe } = folderWith({
      'pipelines/p.yaml': 'stages:\n  a: { uses: sya }\n',
      'stages/say.ts': speaker,
      'package.json': '{}',
    });
    const { code, out, err } = await pipe(['run']);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toBe(
      'pipelines/p.yaml:2:14: unknown stage module "sya"\n  2 |   a: { uses: sya }\n    |              ^^^\n    = did you mean "say"?\n',
    );
    expect(existsSync(join(root, 'results'))).toBe(false);
    const json = await pipe(['status', '--json']);
    expect(JSON.parse(json.out)).toMatchObject({
      type: 'error',
      diagnostics: [
        {
          file: 'pipelines/p.yaml',
          line: 2,
          column: 14,
          message: 'unknown stage module "sya"',
          hint: 'did you mean "say"?',
        },
      ],
    });
  });

  it.each([
    [['rnu'], "error: unknown command 'rnu'\n(Did you mean run?)"],
    [
      ['run', '--jobs', 'x'],
      "error: option '-j, --jobs <n>' argument 'x' is invalid. It must be a whole number above 0.",
    ],
    [['run', 'tlak.yaml'], 'there is no pipeline tlak.yaml\n  did you mean "talk.yaml"?'],
    [['run', 'talk', 'sya'], 'pipeline talk has no stage or task `sya`. Did you mean say?'],
    [['dag', 'tlak'], 'there is no pipeline tlak\n  did you mean "talk"?'],
    [['why', 'last', 'tlak'], 'there is no pipeline tlak'],
    [['log', 'say', 'talk'], 'no run of talk holds a log of say'],
    [['why', 'lsat'], 'pipeline talk has no stage or task lsat\n  did you mean "last"?'],
    [
      ['run', '--profile', 'shrot'],
      '--profile: unknown profile "shrot"\n  --profile shrot\n            ^^^^^\n  = did you mean "short"?',
    ],
    [['stages', 'sya'], 'there is no stage module sya\n  did you mean "say"?'],
    [['gc', '--max-size', 'big'], '--max-size: big is not a size\n  write 500MB, 2GB or a number of bytes'],
    [['diff'], 'there are no runs yet\n  begin with `pipe run`'],
    [['log', 'say'], 'no run holds a log of say\n  there are no tasks here'],
    [['lineage', 'results/x'], 'results/x was not published by any run'],
  ])('in the arguments ends with 2: %j', async (args, message) => {
    const { code, out, err } = await project().pipe(args);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(message);
  });

  it('outside a project is said so', async () => {
    expect(await folderWith({}).pipe(['status'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('is not inside a project'),
    });
  });

  it('when a pipeline must be named, names them', async () => {
    const { write, pipe } = project();
    write('pipelines/other.yaml', 'stages: { a: { run: pwd } }');
    expect((await pipe(['dag'])).err).toBe(
      'say which pipeline is meant\n  there are pipelines/other.yaml, pipelines/talk.yaml\n',
    );
    write('pipelines/default.yaml', 'stages: { b: { run: pwd } }');
    expect((await pipe(['dag'])).lines).toEqual(['b']);
  });
});

it('prints the log of the pipeline that is named, when two have such a task', async () => {
  const { write, pipe } = project();
  write('pipelines/other.yaml', "name: another\nstages: { last: { run: 'echo other' } }\n");
  await pipe(['run', 'talk']);
  await pipe(['run', 'other']);
  expect((await pipe(['log', 'last'])).lines).toEqual(['other']);
  expect((await pipe(['log', 'last', 'other'])).lines).toEqual(['other']);
  expect((await pipe(['log', 'last', 'talk'])).lines[0]).toBe('line 1');
  expect(JSON.parse((await pipe(['log', 'last', 'talk', '--json'])).out).run).toContain('-talk-');
});

it('tells of damage, of the task and of what to do, and mends it in the next run', async () => {
  const { root, pipe } = project();
  await pipe(['run']);
  const { nodes } = JSON.parse((await pipe(['lineage', 'last', '--json'])).out);
  const { digest } = nodes[0].outputs.said;
  const blob = join(root, 'cache/cas', digest.slice(0, 2), digest);
  chmodSync(blob, 0o644);
  writeFileSync(blob, 'harm!');
  rmSync(join(root, 'results'), { recursive: true });
  const run = await pipe(['run']);
  expect(run.code).toBe(1);
  expect(run.lines[0]).toBe(`damaged: ${blob}: its content is not what its name says`);
  expect(run.lines[1]).toMatch(/^note: its artifact `said` is damaged in the store .* run again, .* \(last\)$/);
  expect((await pipe(['run'])).code).toBe(0);
  expect(readFileSync(join(root, 'results/talk/said.txt'), 'utf8')).toBe('hello');
});

it('draws, traces, compares and cleans up', async () => {
  const { root, pipe } = project();
  await pipe(['run']);
  expect((await pipe(['dag'])).lines).toEqual(['say (2 word)', 'last', '    <- say.said']);
  expect((await pipe(['dag', '--format', 'mermaid'])).lines).toEqual([
    'flowchart LR',
    '  n0["say (2 word)"]',
    '  n1["last"]',
    '  n0 -->|said| n1',
  ]);
  expect((await pipe(['dag', '--tasks', '--format', 'dot'])).out).toContain('"say[word=a]" -> "last" [label="said"];');

  const lineage = await pipe(['lineage', 'results/talk/said.txt']);
  expect(lineage.out).toMatch(/from: say\[word=b\] {2}key [0-9a-f]{16}/);
  expect(lineage.out.match(/^ +measured: lines 30, seconds per line 0\.001235$/gm)).toHaveLength(3);
  const traced = JSON.parse((await pipe(['lineage', 'last', '--json'])).out);
  expect(traced.nodes.map((node: { task: string }) => node.task)).toEqual(['last', 'say[word=a]', 'say[word=b]']);
  expect((await pipe(['lineage', 'last', '--format', 'dot'])).lines[0]).toBe('digraph lineage {');

  await pipe(['run', '--profile', 'short']);
  const diff = await pipe(['diff']);
  expect(diff.lines.slice(1, 5)).toEqual([
    '  param words: ["a","b"] -> ["c"]',
    '  - say[word=a]',
    '  - say[word=b]',
    '  + say[word=c]',
  ]);
  expect(diff.lines[5]).toBe('  ~ last: same result');

  expect((await pipe(['verify'])).out).toMatch(/^5 records and \d+ blobs \(.*\): everything is as its digest says$/m);
  const before = JSON.parse((await pipe(['gc', '--keep-runs', '1', '--dry-run', '--json'])).out);
  expect(before.records.map(({ task }: { task: string }) => task).sort()).toEqual([
    'last',
    'say[word=a]',
    'say[word=b]',
  ]);
  expect((await pipe(['gc', '--keep-runs', '1'])).code).toBe(0);
  expect((await pipe(['status'])).lines).toEqual(['talk (profile short): up to date (2 tasks)']);
  expect(existsSync(join(root, 'results/talk/said.txt'))).toBe(true);

  expect((await pipe(['lineage', 'lsat'])).err).toContain('did you mean "last"?');
  const all = await pipe(['stages']);
  expect(all.lines.slice(0, 2)).toEqual(['of this project', 'say']);
  expect(all.lines).toContain('that pipe brings');
  const stages = await pipe(['stages', 'say']);
  expect(stages.lines).toEqual([
    'say',
    '  Says a word.',
    '  stages/say.ts',
    '',
    'with',
    '  word  What is said.',
    '        string, default "hello"',
    '  fail  Whether to fail.',
    '        boolean, default false',
    '',
    'in',
    '  from  What was said before.',
    '        a list, optional',
    '',
    'out',
    '  said  The word.',
    '        said.txt',
  ]);
  for (const name of ['compare', 'train', 'download']) {
    const { code, lines } = await pipe(['stages', name]);
    expect(code).toBe(0);
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(100);
  }
});

describe('help', () => {
  const program = buildProgram(() => undefined);

  it.each(
    program
      .createHelp()
      .visibleCommands(program)
      .map((command) => [command.name(), command] as const),
  )('of %s has examples and fits 80 columns', (_, command) => {
    let text = '';
    command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => 80 });
    command.outputHelp();
    expect(text).toContain('Examples:');
    for (const line of text.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
  });

  it('of the whole command lists them all', async () => {
    const { code, out } = await folderWith({}).pipe(['--help']);
    expect(code).toBe(0);
    for (const name of [
      'run',
      'status',
      'why',
      'dag',
      'log',
      'lineage',
      'diff',
      'verify',
      'gc',
      'stages',
      'init',
      'watch',
      'timeline',
      'completion',
    ])
      expect(out).toMatch(new RegExp(`^ {2}${name} `, 'm'));
    for (const line of out.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
  });
});
