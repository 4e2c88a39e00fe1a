/** What makes days with the command pleasant: watch, completion, diff, timeline, following a log. In real processes and shells. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { timelineOf } from '../engine/timeline.ts';
import { folderWith, pipeCommand, type TestFolder } from './support/pipe_command.ts';

let folder: TestFolder;
beforeEach(() => {
  folder = folderWith({
    'package.json': '{}',
    'stages/say.ts': sayer,
    'pipelines/p.yaml': talk,
    'word.txt': 'hello',
  });
});
const at = (path: string) => join(folder.root, path);

/** Polls until `holds` gives something. */
async function until<T>(what: string, holds: () => T | null | undefined | false, seconds = 40): Promise<T> {
  const limit = Date.now() + seconds * 1000;
  for (;;) {
    const value = holds();
    if (value !== null && value !== undefined && value !== false) return value;
    if (Date.now() > limit) throw new Error(`${what} did not happen in ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A command that goes on while the test does other things. */
function begin(...args: readonly string[]) {
  const child = spawn(process.execPath, [pipeCommand, ...args], {
    cwd: folder.root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const state = { out: '', err: '', code: null as number | null | undefined };
  state.code = undefined;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    state.out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    state.err += text;
  });
  child.on('close', (code) => {
    state.code = code;
  });
  return {
    state,
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    ended: () => until(`the end of ${args.join(' ')}`, () => state.code !== undefined && { code: state.code }),
  };
}

describe('watch', () => {
  /** Waits for the next time that it watches, and gives what it printed before that. */
  function watching(state: { out: string }): () => Promise<string> {
    let from = 0;
    return async () => {
      const end = await until('watching again', () => {
        const found = state.out.indexOf('Ctrl-C ends\n', from);
        return found !== -1 && found + 'Ctrl-C ends\n'.length;
      });
      const said = state.out.slice(from, end);
      from = end;
      return said;
    };
  }

  test('runs again what an edit makes stale, waits while a file is wrong, and ends on Ctrl-C', async () => {
    const { state, kill, ended } = begin('watch', 'p');
    const next = watching(state);
    expect(await next()).toMatch(/p: done in .*: 3 run\n/);

    folder.write('word.txt', 'goodbye');
    expect(await next()).toMatch(/^edited: word\.txt\n(\[\d\/3\] .*\n)+p: done in .*: 2 run, 1 up to date\n/);
    expect(readFileSync(at('results/p/said.txt'), 'utf8')).toBe('goodbye!');

    folder.write('stages/say.ts', sayer.replace("'!'", "'?'"));
    expect(await next()).toMatch(/^edited: stages\/say\.ts\n/);
    expect(readFileSync(at('results/p/said.txt'), 'utf8')).toBe('goodbye?');

    folder.write('stages/say.ts', `// Only a comment.\n${sayer.replace("'!'", "'?'")}`);
    expect(await next()).toMatch(/^edited: stages\/say\.ts\np: up to date \(3 tasks/);

    folder.write('pipelines/p.yaml', talk.replace('uses: say', 'use: say'));
    expect(await next()).toMatch(/^edited: pipelines\/p\.yaml\nwatching/);
    expect(state.err).toContain('pipelines/p.yaml:3');

    folder.write('pipelines/p.yaml', talk);
    expect(await next()).toMatch(/^edited: pipelines\/p\.yaml\np: up to date/);

    kill('SIGINT');
    expect(await ended()).toEqual({ code: 0 });
  });

  test('a failing task is reported, and an edit that mends it runs it', async () => {
    folder.write('stages/say.ts', sayer.replace('const word', "throw new Error('no voice');\n    const word"));
    const { state, kill, ended } = begin('watch', 'p', 'say');
    const next = watching(state);
    expect(await next()).toContain('no voice');
    folder.write('stages/say.ts', sayer);
    expect(await next()).toMatch(/p: done in/);
    kill('SIGTERM');
    expect(await ended()).toEqual({ code: 0 });
  });

  test('an edit during a run is seen when the run is over', async () => {
    folder.write(
      'pipelines/p.yaml',
      talk.replace("'touch y'", "'while [ ! -e ../../../../go ]; do sleep 0.02; done; touch y'"),
    );
    const { state, kill, ended } = begin('watch', 'p');
    const next = watching(state);
    await until('the start of the command', () => runningTask('wait'));
    folder.write('word.txt', 'later');
    folder.write('go', '');
    await next();
    expect(await next()).toContain('edited: word.txt');
    expect(readFileSync(at('results/p/said.txt'), 'utf8')).toBe('later!');
    kill('SIGINT');
    await ended();
  });
});

describe('log --follow', () => {
  const slow = `stages:
  slow:
    run: |
      echo begun; while [ ! -e ../../../../go ]; do sleep 0.02; done; echo ended; echo done > x
    shell: true
    out: { x: x }
  after: { run: 'sh -c "echo mine; cat $0 > y" \${{ in.x }}', in: { x: slow.x }, out: { y: y } }
`;

  test('prints what a running task writes as it writes it, and its end from the kept log', async () => {
    folder.write('pipelines/slow.yaml', slow);
    const run = begin('run', 'slow');
    await until('the start of the task', () => runningTask('slow'));
    const log = begin('log', '-f', 'slow');
    await until('the first line', () => log.state.out === 'begun\n');
    const queued = begin('log', '-f', 'after', 'slow');
    folder.write('go', '');
    expect(await log.ended()).toEqual({ code: 0 });
    expect(log.state.out).toBe('begun\nended\n');
    expect(await queued.ended()).toEqual({ code: 0 });
    expect(queued.state.out).toBe('mine\n');
    expect(await run.ended()).toEqual({ code: 0 });
    // Nothing runs any more: the same as without -f.
    expect((await folder.pipe(['log', '-f', 'slow'])).out).toBe('begun\nended\n');
  });

  test('ends with a run that is killed, and with 130 on Ctrl-C', async () => {
    folder.write('pipelines/slow.yaml', slow);
    const run = begin('run', 'slow');
    await until('the start of the task', () => runningTask('slow'));
    const [log, other] = [begin('log', '-f', 'slow'), begin('log', '-f', 'slow')];
    await until('the first line', () => log.state.out === 'begun\n' && other.state.out === 'begun\n');
    other.kill('SIGINT');
    expect(await other.ended()).toEqual({ code: 130 });
    run.kill('SIGKILL');
    expect(await log.ended()).toEqual({ code: 2 });
    expect(log.state.err).toContain('no run holds a log of slow');
  });
});

/** Whether a task is being executed, as far as any journal says. */
function runningTask(task: string): boolean {
  if (!existsSync(at('cache/runs'))) return false;
  const names = readdirSync(at('cache/runs')).filter((name) => name.endsWith('.events'));
  return names.some((name) =>
    readFileSync(at(join('cache/runs', name)), 'utf8').includes(`"task-started","task":"${task}"`),
  );
}

describe('timeline', () => {
  test('of a run is a Chrome trace with a slice for each execution, none over another in its row', async () => {
    await folder.pipe(['run', 'p', '-j', '2']);
    await folder.pipe(['run', 'p']);
    const { out } = await folder.pipe(['timeline', '--format', 'chrome']);
    const { traceEvents, displayTimeUnit } = JSON.parse(out);
    expect(displayTimeUnit).toBe('ms');
    const slices = traceEvents.filter(({ ph }: { ph: string }) => ph === 'X');
    expect(slices.map(({ name }: { name: string }) => name).sort()).toEqual(['say', 'shout', 'wait']);
    for (const slice of slices) {
      expect(slice).toMatchObject({ pid: 1, args: { outcome: 'done', key: expect.stringMatching(/^[0-9a-f]{64}$/) } });
      expect([Number.isFinite(slice.ts), slice.dur >= 0]).toEqual([true, true]);
    }
    const say = slices.find(({ name }: { name: string }) => name === 'say');
    const shout = slices.find(({ name }: { name: string }) => name === 'shout');
    expect(shout.ts).toBeGreaterThanOrEqual(say.ts + say.dur);
    expect(say.args.params).toEqual({ end: '!' });
    const { spans } = JSON.parse((await folder.pipe(['timeline', '--json'])).out);
    expect(spans.map(({ task }: { task: string }) => task).sort()).toEqual(['say', 'shout', 'wait']);
    const text = await folder.pipe(['timeline']);
    expect(text.lines[0]).toMatch(/-p-[0-9a-f]{6}: 3 executions in .* s, at most [12] at a time$/);
    for (const line of text.lines) expect(line.length).toBeLessThanOrEqual(100);
  });

  test('of a run that failed shows what failed', async () => {
    folder.write('stages/say.ts', sayer.replace('const word', "throw new Error('no voice');\n    const word"));
    await folder.pipe(['run', 'p', '-k']);
    const { lines } = await folder.pipe(['timeline']);
    expect(lines.find((line) => line.startsWith('say'))).toMatch(/failed$/);
  });

  test('without a run, or of one that executed nothing, says so', async () => {
    expect((await folder.pipe(['timeline'])).err).toContain('no run has executed anything yet');
  });

  test('rows hold no two attempts at a time, and retries are attempts', () => {
    const started = (task: string, at: number) =>
      ({ type: 'task-started', task, at, key: '', attempt: 1, log: '' }) as const;
    const failure = { kind: 'crash', message: '' } as const;
    const spans = timelineOf(
      [
        started('a', 0),
        started('b', 5),
        { type: 'task-retried', task: 'a', attempt: 1, failure, at: 10 },
        started('a', 11),
        { type: 'task-done', task: 'b', key: '', seconds: 1, origin: 'executed', at: 20 },
        started('c', 21),
      ],
      30,
    );
    expect(spans).toEqual([
      { task: 'a', from: 0, to: 10, outcome: 'retried', lane: 0 },
      { task: 'b', from: 5, to: 20, outcome: 'done', lane: 1 },
      { task: 'a', from: 11, to: 30, outcome: 'running', lane: 0 },
      { task: 'c', from: 21, to: 30, outcome: 'running', lane: 1 },
    ]);
    // Of a run that was killed.
    expect(timelineOf([started('a', 0), started('b', 5)], null)).toEqual([
      { task: 'a', from: 0, to: 5, outcome: 'ended', lane: 0 },
      { task: 'b', from: 5, to: 5, outcome: 'ended', lane: 1 },
    ]);
  });
});

test('runs lists what was asked, and diff names parameters, artifacts and the numbers in them, and what was measured', async () => {
  folder.write('stages/score.ts', scorer);
  folder.write(
    'pipelines/q.yaml',
    'params: { x: 2 }\nstages: { score: { uses: score, with: { x: "${{ params.x }}" } } }\n',
  );
  await folder.pipe(['run', 'q']);
  await folder.pipe(['run', 'q', '--param', 'x=3']);
  const { lines } = await folder.pipe(['runs', 'q']);
  expect(lines[0]).toMatch(/^\S+-q-[0-9a-f]{6} {2}done in .* s: 1 run$/);
  expect(lines[1]).toBe('    param x: 2 -> 3');
  expect(lines[2]).toMatch(/-q-[0-9a-f]{6} {2}done/);
  expect(JSON.parse((await folder.pipe(['runs', '--json', '--last', '1'])).out)).toMatchObject([
    { pipeline: 'q', params: { x: 3 }, status: 'done', counts: { executed: 1, failed: 0 } },
  ]);
  const { out } = await folder.pipe(['diff']);
  expect(out.split('\n').slice(1).join('\n')).toBe(`  param x: 2 -> 3
  ~ score: other json, tables
      parameter x changed: 2 -> 3
      json: ${short('q', 'json', 0)} -> ${short('q', 'json', 1)}
        loss.final 4 -> 9 (+125 %)
        steps[1] 2 -> 3 (+50 %)
      tables: ${short('q', 'tables', 0)} -> ${short('q', 'tables', 1)}
        t.csv [nf4, plain].loss -2 -> -3 (-50 %)
        t.csv [bf16, "x"].loss 0 -> (none)
      measured:
        seconds 0.5 -> 0.333333 (-33.3 %)
  0 tasks the same
`);
  const json = JSON.parse((await folder.pipe(['diff', '--json'])).out);
  expect(json.changed[0].outputs[0].metrics[0]).toEqual({ name: 'loss.final', old: 4, new: 9 });

  /** The digest and size of an output in the first or second run. */
  function short(pipeline: string, output: string, which: number): string {
    const runs = readdirSync(at('cache/runs')).filter(
      (name) => name.includes(`-${pipeline}-`) && name.endsWith('.json'),
    );
    const { tasks } = JSON.parse(readFileSync(at(join('cache/runs', runs.sort()[which]!)), 'utf8'));
    const { key } = tasks.score;
    const { outputs } = JSON.parse(readFileSync(at(join('cache/ac', key.slice(0, 2), key)), 'utf8'));
    return `${outputs[output].digest.slice(0, 12)} (${outputs[output].bytes} B)`;
  }
});

describe('completion', () => {
  /** Why a shell cannot be tested here, or null. */
  const missing = (shell: string): string | null => {
    try {
      execFileSync(shell, ['-c', 'true'], { stdio: 'ignore' });
      return null;
    } catch {
      return `${shell} is not installed`;
    }
  };
  const reasons = { bash: missing('bash'), zsh: missing('zsh'), fish: missing('fish') };
  const skipped = (shell: keyof typeof reasons) => (reasons[shell] === null ? '' : ` (skipped: ${reasons[shell]})`);

  beforeEach(() => {
    folder.write('pipelines/grid.yaml', grid);
    mkdirSync(at('bin'));
    symlinkSync(pipeCommand, at('bin/pipe'));
  });

  /** What a shell prints, with `pipe` on its path. */
  function inShell(shell: string, args: readonly string[]): string[] {
    const env = {
      ...process.env,
      PATH: `${at('bin')}${delimiter}${process.env.PATH}`,
      HOME: folder.root,
      TERM: 'dumb',
    };
    return execFileSync(shell, args, { cwd: folder.root, env, encoding: 'utf8', timeout: 50_000 })
      .split('\n')
      .filter((line) => line !== '');
  }

  const cases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ['a command', ['pipe', 'st'], ['status', 'stages']],
    ['a pipeline or a stage', ['pipe', 'run', 'gr'], ['grid']],
    ['a stage of the named pipeline', ['pipe', 'run', 'grid', 'tr'], ['train']],
    ['tasks, once the bracket is open', ['pipe', 'run', 'grid', 'train['], ['train[n=1,p=a]', 'train[n=2,p=a]']],
    ['an option', ['pipe', 'run', '--keep'], ['--keep-going']],
    ['a value of an option', ['pipe', 'lineage', 'x', '--format', 'ro'], ['ro-crate']],
    ['a profile', ['pipe', 'run', 'grid', '--profile', ''], ['small']],
    ['a shell', ['pipe', 'completion', 'f'], ['fish']],
  ];

  test.skipIf(reasons.bash !== null).each(cases)(`bash completes %s${skipped('bash')}`, (_, words, expected) => {
    const script = `source <(pipe completion bash)
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
_pipe_complete; printf '%s\\n' "\${COMPREPLY[@]}"; complete -p pipe`;
    const lines = inShell('bash', ['--norc', '-c', script]);
    expect(lines.pop()).toBe('complete -o bashdefault -o default -F _pipe_complete pipe');
    // Quoted for the shell: what it reads again is the word.
    const read = (word: string) => inShell('bash', ['--norc', '-c', `printf %s ${word}`])[0];
    expect(lines.map(read).sort()).toEqual([...expected].sort());
  });

  test.skipIf(reasons.fish !== null).each(cases)(`fish completes %s${skipped('fish')}`, (_, words, expected) => {
    const line = words.join(' ').replaceAll('[', '\\[');
    const lines = inShell('fish', ['--no-config', '-c', `pipe completion fish | source; complete -C '${line}'`]);
    expect(lines.map((each) => each.split('\t')[0]).sort()).toEqual([...expected].sort());
  });

  test.skipIf(reasons.zsh !== null).each(cases)(`zsh completes %s${skipped('zsh')}`, (_, words, expected) => {
    // compadd works in the line editor only: what it is given is what is looked at here.
    const script = `compdef() { :; }; source <(pipe completion zsh); _files() { :; }
compadd() { print -l -- "\${found[@]}"; }
words=(${words.map((word) => `'${word}'`).join(' ')}); CURRENT=${words.length}; _pipe`;
    expect(inShell('zsh', ['-f', '-c', script]).sort()).toEqual([...expected].sort());
  });

  test('nothing is said where nothing can be: no project, a wrong file, an unknown command', async () => {
    folder.write('pipelines/p.yaml', 'stages: [');
    for (const words of [
      ['pipe', 'why', ''],
      ['pipe', 'nothing', ''],
      ['pipe', 'run', 'p', 'x'],
    ]) {
      const { code, out, err } = await folder.pipe(['complete', '--', String(words.length - 1), ...words]);
      expect([code, out, err]).toEqual([0, '', '']);
    }
  });
});

const talk = `stages:
  say:
    uses: say
    in: { word: { file: word.txt } }
    with: { end: '!' }
  shout: { run: 'tr a-z A-Z < $PIPE_IN_said > x', shell: true, in: { said: say.said }, out: { x: x } }
  wait: { run: 'touch y', shell: true, out: { y: y } }
publish: { said.txt: say.said }
`;

const sayer = `import { readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Says a word.',
  params: { end: { type: 'string', description: 'What ends it.', default: '.' } },
  inputs: { word: { description: 'The word.' } },
  outputs: { said: { description: 'It.', path: 'said.txt' } },
  run({ inputs, outputs }) {
    const word = readFileSync(inputs.word, 'utf8');
    writeFileSync(outputs.said, word + '!');
  },
});
`;

const scorer = `import { mkdirSync, writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Gives numbers.',
  params: { x: { type: 'number', description: 'One.' } },
  inputs: {},
  outputs: { json: { description: 'JSON.', path: 'm.json' }, tables: { description: 'CSV.', path: 't' } },
  run({ params: { x }, outputs, measure }) {
    writeFileSync(outputs.json, JSON.stringify({ loss: { final: x * x, first: 1 }, steps: [1, x], name: 'n' }));
    mkdirSync(outputs.tables);
    const more = x === 2 ? 'bf16,"""x""",0\\n' : '';
    writeFileSync(outputs.tables + '/t.csv', 'precision,note,loss\\nnf4,plain,' + -x + '\\n' + more);
    measure('seconds', 1 / x);
  },
});
`;

const grid = `params: { ns: [1, 2] }
profiles: { small: { ns: [1] } }
stages:
  train: { run: touch x, matrix: { n: '\${{ params.ns }}', p: [a] }, out: { x: x } }
`;
