/** What a pipeline, its results and its environment cannot do to whoever runs it: paths that climb out, variables, secrets. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { pathProblem } from '../engine/paths.ts';
import { Masker, mask } from '../engine/secrets.ts';
import { type Ended, folderWith, runPipe, type TestFolder } from './support/pipe_command.ts';

const secret = 'tok-5f3a/9+b c"d';
let folder: TestFolder;
beforeEach(() => {
  folder = folderWith({ 'package.json': '{}' });
});
const at = (path: string) => join(folder.root, path);
const run = (file: string, env: Record<string, string> = {}): Promise<Ended> =>
  runPipe(folder.root, ['run', file], { env });

/** A pipeline of one stage `s`, as lines of YAML. */
function stage(...lines: readonly string[]): void {
  folder.write(
    'pipelines/p.yaml',
    `stages:\n  s:\n${lines.map((line) => `    ${line}\n`).join('')}publish: { out.txt: s.out }\n`,
  );
}

describe('paths', () => {
  test.each(['../x', '/etc/x', 'a/../../x', 'C:\\x', '..\\x', '.', '', 'a\\..\\..\\x'])(
    'an output at %j is refused with its place in the file',
    async (path) => {
      stage('run: echo x', `out: { out: ${JSON.stringify(path)} }`);
      const { code, err } = await run('p');
      expect([code, err]).toEqual([2, expect.stringMatching(/pipelines\/p\.yaml:\d+:\d+/)]);
    },
  );

  test.each(['../x', '/tmp/x', 'a/../../x'])('publishing at %j is refused', async (path) => {
    folder.write(
      'pipelines/p.yaml',
      `stages: { s: { run: touch x, out: { out: x } } }\npublish: { '${path}': s.out }\n`,
    );
    expect((await run('p')).code).toBe(2);
  });

  test('a path that is accepted stays in its folder, whatever it is made of', () => {
    const name = fc.oneof(fc.constantFrom('..', '.', '', '~', 'a', '...', ' ', '\\', 'C:'), fc.string());
    fc.assert(
      fc.property(
        fc.array(name, { maxLength: 6 }).map((names) => names.join('/')),
        (path) => {
          fc.pre(pathProblem(path) === null);
          expect(join('/home/task', path)).toMatch(/^\/home\/task\/./s);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('a link in the place of a folder above an output does not have a file of elsewhere taken', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'pipe-outside-'));
    onTestFinished(() => rmSync(outside, { recursive: true }));
    writeFileSync(join(outside, 'file.txt'), 'mine');
    stage(`run: rmdir sub && ln -s ${outside} sub`, 'shell: true', 'out: { out: sub/file.txt }');
    const { code, out } = await run('p');
    expect([code, out]).toEqual([
      1,
      expect.stringContaining("a folder above sub/file.txt is a link out of the task's folder"),
    ]);
    expect(readFileSync(join(outside, 'file.txt'), 'utf8')).toBe('mine');
  });

  test('a task that puts a link in the place of its own folder keeps nothing', async () => {
    stage('run: cd .. && rm -r out && ln -s /etc out', 'shell: true', 'out: { out: hostname }');
    const { code, out } = await run('p');
    expect([code, out]).toEqual([1, expect.stringContaining('put something else in the place of its folder')]);
  });

  test('an output that is a hard link to another file is copied: that file stays writable, and its time its own', async () => {
    const path = at('data.txt');
    writeFileSync(path, 'shared');
    const before = statSync(path);
    stage(`run: ln ${path} out.txt`, 'shell: true', 'out: { out: out.txt }');
    expect((await run('p')).code).toBe(0);
    const after = statSync(path);
    expect([after.mode, after.mtimeMs]).toEqual([before.mode, before.mtimeMs]);
    writeFileSync(path, 'edited');
    expect(readFileSync(at('results/p/out.txt'), 'utf8')).toBe('shared');
  });

  test('a table of publications that names files elsewhere has none of them removed', async () => {
    writeFileSync(at('precious.txt'), 'keep');
    const lines = ['../../precious.txt', at('precious.txt')].map((path) => ({
      path,
      task: 's',
      artifact: 'out',
      key: '0'.repeat(64),
      kind: 'file',
      digest: '0'.repeat(64),
      mark: '',
    }));
    mkdirSync(at('results/p'), { recursive: true });
    writeFileSync(at('results/p/.pipe-publications.json'), JSON.stringify(lines));
    stage('run: touch out.txt', 'out: { out: out.txt }');
    expect((await run('p')).code).toBe(0);
    expect(readFileSync(at('precious.txt'), 'utf8')).toBe('keep');
  });

  test('nothing is published, or removed, through a link below results/', async () => {
    const outside = mkdtempSync(join(tmpdir(), 'pipe-outside-'));
    onTestFinished(() => rmSync(outside, { recursive: true }));
    mkdirSync(at('results/p'), { recursive: true });
    symlinkSync(outside, at('results/p/tables'));
    folder.write(
      'pipelines/p.yaml',
      'stages: { s: { run: touch x, out: { out: x } } }\npublish: { tables/x: s.out }\n',
    );
    const { code, err } = await run('p');
    expect([code, err]).toEqual([2, expect.stringMatching(/p\/tables\/x would be published elsewhere/)]);
    expect(readdirSync(outside)).toEqual([]);
  });
});

describe('names', () => {
  test('what JavaScript objects are born with are names like any other', async () => {
    const names = ['constructor', 'toString', 'hasOwnProperty', 'valueOf', 'prototype'];
    const stages = names.map(
      (name) =>
        `  ${name}: { run: 'cp \${{ in.file }} \${{ out.${name} }}', in: { file: { file: package.json } }, env: { ${name}: '\${{ params.${name} }}' }, out: { ${name}: x } }\n`,
    );
    const params = names.map((name) => `${name}: of ${name}`).join(', ');
    folder.write('pipelines/p.yaml', `params: { ${params} }\nstages:\n${stages.join('')}`);
    expect((await run('p')).code).toBe(0);
    const status = await folder.pipe(['status', 'p']);
    expect(status.out).toBe('p: up to date (5 tasks)\n');
    expect((await folder.pipe(['why', 'constructor', 'p'])).code).toBe(0);
    expect((await folder.pipe(['lineage', 'toString', '--json'])).code).toBe(0);
    expect((await folder.pipe(['log', '__proto__'])).code).toBe(2);
    expect((await folder.pipe(['log', 'isPrototypeOf'])).code).toBe(2);
  });

  test.each([
    ['--param', '__proto__={polluted: 1}'],
    ['--param', 'map.__proto__={polluted: 1}'],
    ['--param', 'map={"__proto__": {"polluted": 1}}'],
    ['--param', 'map.constructor.prototype.polluted=1'],
    ['--set', 's.__proto__={polluted: 1}'],
    ['--set', 's.__proto__=1'],
    ['--set', 's.constructor.prototype.polluted=1'],
  ])('%s %s is refused', async (option, value) => {
    folder.write('pipelines/p.yaml', 'params: { map: { a: 1 } }\nstages: { s: { uses: say, with: { word: a } } }\n');
    folder.write('stages/say.ts', sayer);
    const { code, err } = await folder.pipe(['run', 'p', option, value]);
    expect([code, err]).toEqual([2, expect.stringContaining(option)]);
  });

  test.each([
    ['in the file', '{ word: a, __proto__: { polluted: 1 } }'],
    ['in an expression', "\"${{ {'word': 'a', '__proto__': {'polluted': 1}} }}\""],
  ])('__proto__ %s is refused with its place', async (_, given) => {
    folder.write('pipelines/p.yaml', `stages: { s: { uses: say, with: ${given} } }\n`);
    folder.write('stages/say.ts', sayer);
    const { code, err } = await run('p');
    expect([code, err]).toEqual([2, expect.stringMatching(/pipelines\/p\.yaml:1:\d+: .*__proto__/s)]);
  });
});

describe('commands', () => {
  test('what a parameter holds is one argument, whatever a shell would make of it', async () => {
    const evil = 'a b; touch ../../../../pwned $(id) `id` | x > y & \'"*';
    folder.write(
      'pipelines/p.yaml',
      `params: { evil: x }
stages:
  s:
    run: ['node', '-e', 'require("fs").writeFileSync("out.txt", JSON.stringify(process.argv.slice(1)))', '\${{ params.evil }}']
    out: { out: out.txt }
  t:
    run: node -e "require('fs').writeFileSync('out.txt', JSON.stringify(process.argv.slice(1)))" \${{ params.evil }}
    out: { out: out.txt }
publish: { s.txt: s.out, t.txt: t.out }
`,
    );
    expect((await folder.pipe(['run', 'p', '--param', `evil=${evil}`])).code).toBe(0);
    for (const name of ['s', 't'])
      expect(JSON.parse(readFileSync(at(`results/p/${name}.txt`), 'utf8'))).toEqual([evil]);
    expect(existsSync(at('pwned'))).toBe(false);
  });
});

describe('environment', () => {
  const own = { OF_THE_USER: 'private', DECLARED: 'for the stage' };

  test('a command and a stage see what is declared, and of the rest only what programs cannot do without', async () => {
    folder.write('stages/tell.ts', teller);
    folder.write(
      'pipelines/p.yaml',
      `stages:
  c: { run: env -0 > out.txt, shell: true, env: { GIVEN: 1 }, out: { out: out.txt } }
  s: { uses: tell, env: { GIVEN: 1 } }
publish: { c.txt: c.out, s.txt: s.out }
`,
    );
    expect((await run('p', own)).code).toBe(0);
    const places = ['PATH', 'HOME', 'LANG', 'LD_LIBRARY_PATH', 'CUDA_VISIBLE_DEVICES'];
    const common = [...places, 'CXX', 'CUDA_HOME', 'PIPE_NATIVE', 'PIPE_DEBUG_PROGRAM'];
    const allowed = new Set([...common, 'GIVEN', 'DECLARED', 'NODE_CHANNEL_FD', 'NODE_CHANNEL_SERIALIZATION_MODE']);
    const seen = (path: string) =>
      readFileSync(at(path), 'utf8')
        .split('\0')
        .filter((line) => line !== '');
    const stageSees = seen('results/p/s.txt');
    expect(stageSees).toEqual(expect.arrayContaining(['GIVEN=1', 'DECLARED=for the stage']));
    expect(stageSees.map((line) => line.split('=')[0]!).filter((name) => !allowed.has(name))).toEqual([]);
    const commandSees = seen('results/p/c.txt');
    expect(commandSees).toContain('GIVEN=1');
    const shells = ['TMPDIR', 'PWD', 'OLDPWD', 'SHLVL', '_', 'PIPE_OUT_out', 'GIVEN'];
    expect(
      commandSees.map((line) => line.split('=')[0]!).filter((name) => ![...common, ...shells].includes(name)),
    ).toEqual([]);
  });

  test('a variable that a stage asks for is outside the key', async () => {
    folder.write('stages/tell.ts', teller);
    folder.write('pipelines/p.yaml', 'stages: { s: { uses: tell } }\n');
    await run('p', own);
    expect((await run('p', { DECLARED: 'another' })).out).toMatch(/up to date/);
  });
});

describe('secrets', () => {
  const pipeline = `stages:
  c:
    run: |
      printf 'first %s last' "$TOKEN"; sleep 0.01; echo; printf '%s' "\${TOKEN%???}" >&2; sleep 0.05; printf '%s\\n' "\${TOKEN#?????????????}" >&2
      printf '%s' "$TOKEN" | base64; printf '%s' "$TOKEN" | wc -c > out.txt
    shell: true
    secrets: TOKEN
    out: { out: out.txt }
  s:
    uses: shout
    secrets: [TOKEN]
publish: { c.txt: c.out, s.txt: s.out }
`;

  beforeEach(() => {
    folder.write('stages/shout.ts', shouter);
    folder.write('pipelines/p.yaml', pipeline);
  });

  /** Every file of the project that holds the secret, in one of the ways that it may be written. */
  function leaks(): string[] {
    const forms = [
      secret,
      JSON.stringify(secret).slice(1, -1),
      encodeURIComponent(secret),
      Buffer.from(secret).toString('base64'),
    ];
    return readdirSync(folder.root, { recursive: true, encoding: 'utf8' }).filter((name) => {
      if (!statSync(at(name)).isFile()) return false;
      const text = readFileSync(at(name), 'latin1');
      return forms.some((form) => text.includes(form));
    });
  }

  test('reach the task, and are masked in logs and absent from everything that is kept', async () => {
    const { code, out, err } = await run('p', { TOKEN: secret });
    expect([code, err]).toEqual([0, '']);
    expect(readFileSync(at('results/p/c.txt'), 'utf8').trim()).toBe(String(secret.length));
    expect(out).toContain(`said ${mask} aloud`);
    expect((await folder.pipe(['log', 'c'])).out).toContain(`first ${mask} last`);
    expect((await folder.pipe(['log', 'c'])).out.match(/\*\*\*/g)).toHaveLength(3);
    expect((await folder.pipe(['log', 's'])).out).toBe(
      `by log: ${mask}\nin halves: ${mask}\nwarning: said ${mask} aloud\nlast line ${mask}`,
    );
    const lineage = JSON.parse((await folder.pipe(['lineage', 's', '--json'])).out);
    expect(lineage.nodes[0].measurements).toEqual({ word: `measured ${mask}` });
    expect(leaks()).toEqual([]);
  });

  test('of a task that fails are masked in its message, its stack and its log', async () => {
    folder.write('stages/shout.ts', shouter.replace('writeFileSync(', 'throw new TypeError(token); writeFileSync('));
    const { code, out } = await run('p', { TOKEN: secret });
    expect([code, out]).toEqual([1, expect.stringContaining(`TypeError: ${mask}`)]);
    expect(out).not.toContain(secret);
    expect(leaks()).toEqual([]);
  });

  test('make a task stale when they change, and only a fingerprint says so', async () => {
    await run('p', { TOKEN: secret });
    expect((await run('p', { TOKEN: secret })).out).toMatch(/up to date/);
    const { out } = await runPipe(folder.root, ['why', 's', 'p'], { env: { TOKEN: 'another' } });
    expect(out).toBe('s must run\n  secret TOKEN has another value\n');
    const records = readdirSync(at('cache/ac'), { recursive: true, encoding: 'utf8' }).filter(
      (name) => name.length > 64,
    );
    const { manifest } = JSON.parse(readFileSync(at(join('cache/ac', records[0]!)), 'utf8'));
    expect(manifest.secrets).toEqual({ TOKEN: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(statSync(at('cache/fingerprint.key')).mode & 0o777).toBe(0o600);
    // Another key gives another fingerprint; one that people share gives theirs.
    const shared = { TOKEN: secret, PIPE_FINGERPRINT_KEY: 'ours' };
    expect((await run('p', shared)).out).toMatch(/2 run/);
    rmSync(at('cache/fingerprint.key'));
    expect((await run('p', shared)).out).toMatch(/up to date/);
    expect(existsSync(at('cache/fingerprint.key'))).toBe(false);
  });

  test.each([{}, { TOKEN: '' }])('that are not set are asked for by name (%j)', async (env) => {
    const { code, out } = await run('p', env);
    expect([code, out]).toEqual([
      1,
      expect.stringContaining('its secret TOKEN is not set: put it into the environment'),
    ]);
  });

  test('that also stand under env are refused', async () => {
    stage('run: touch x', 'secrets: TOKEN', 'env: { TOKEN: plain }', 'out: { out: x }');
    const { code, err } = await run('p', { TOKEN: secret });
    expect([code, err]).toEqual([
      2,
      expect.stringMatching(/p\.yaml:4:\d+.*"TOKEN" is a secret and stands under "env"/s),
    ]);
  });

  test('are masked however the output is cut into pieces', () => {
    // Few characters, so that secrets overlap and begin one another; and any.
    const few = fc.array(fc.constantFrom('a', 'b', '\n', '"', '%'), { minLength: 1, maxLength: 24 });
    const text = fc.oneof(
      few.map((parts) => parts.join('')),
      fc.string({ minLength: 1, maxLength: 12, unit: 'binary' }),
    );
    fc.assert(
      fc.property(text, fc.array(text), fc.array(fc.nat(12), { maxLength: 20 }), (value, between, cuts) => {
        // The mask itself could make up a secret of stars.
        fc.pre(!value.includes('*') && value.trim() !== '');
        const masker = new Masker({ VALUE: value });
        const whole = Buffer.from(between.join(value));
        const flow = masker.flow();
        const pieces: Buffer[] = [];
        let from = 0;
        for (const length of cuts) {
          pieces.push(flow.take(whole.subarray(from, from + length)));
          from += length;
        }
        pieces.push(flow.take(whole.subarray(from)), flow.end());
        const told = Buffer.concat(pieces);
        expect(told.includes(Buffer.from(value))).toBe(false);
        expect(told).toEqual(masker.bytes(whole));
      }),
      { numRuns: 1000 },
    );
  });
});

const sayer = `import { defineStage } from 'pipe/stage';
import { writeFileSync } from 'node:fs';
export default defineStage({
  description: 'Says a word.',
  params: { word: { type: 'string', description: 'A word.' } },
  inputs: {},
  outputs: { out: { path: 'out.txt', description: 'It.' } },
  run: ({ params, outputs }) => writeFileSync(outputs.out, params.word),
});
`;

const teller = `import { defineStage } from 'pipe/stage';
import { writeFileSync } from 'node:fs';
export default defineStage({
  description: 'Tells its environment.',
  params: {},
  inputs: {},
  environment: ['DECLARED'],
  outputs: { out: { path: 'out.txt', description: 'NAME=VALUE, each ended by a null character.' } },
  run: ({ outputs }) => writeFileSync(outputs.out, Object.entries(process.env).map((pair) => pair.join('=')).join('\\0')),
});
`;

const shouter = `import { defineStage } from 'pipe/stage';
import { writeFileSync } from 'node:fs';
export default defineStage({
  description: 'Tells a secret in every way that it has.',
  params: {},
  inputs: {},
  outputs: { out: { path: 'out.txt', description: 'Its length.' } },
  run({ outputs, log, warn, measure }) {
    const token = process.env.TOKEN!;
    log('by log: ' + token);
    process.stdout.write('in halves: ' + token.slice(0, 5));
    process.stdout.write(token.slice(5) + '\\n');
    warn('said ' + token + ' aloud');
    measure('word', 'measured ' + token);
    process.stdout.write('last line ' + token);
    writeFileSync(outputs.out, String(token.length));
  },
});
`;
