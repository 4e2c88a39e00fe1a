/** `pipe` with a shared cache, as it is typed: what it prints, how it ends, and what it says of wrong settings. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { folderWith, speaker, type TestFolder } from './support/pipe_command.ts';

let shared: string;
beforeEach(() => {
  shared = mkdtempSync(join(tmpdir(), 'pipe-shared-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(shared, { recursive: true });
});

const config = () => `cache: ${shared}\n`;

function project(files: Readonly<Record<string, string>> = { 'pipe.config.yaml': config() }): TestFolder {
  return folderWith({
    'package.json': '{ "type": "module" }',
    'stages/speak.ts': speaker,
    'pipelines/talk.yaml': `stages:
  one: { uses: speak, with: { word: one } }
  two: { uses: speak, in: { from: { all: one.said } }, with: { word: two } }
publish: { two.txt: two.said }
`,
    ...files,
  });
}

test('run sends and takes, and says so in one line; cache pull brings the rest, and log what it needs', async () => {
  const a = project();
  const cold = await a.pipe(['run']);
  expect(cold.lines.at(-3)).toMatch(/^shared cache \/.*: 2 results sent \(.*\)$/);
  const b = project();
  const warm = await b.pipe(['run']);
  expect(warm.lines).toEqual([
    expect.stringMatching(/^shared cache \/.*: 2 results taken \([\d.]+ k?B\)$/),
    expect.stringMatching(/^talk: up to date \(2 tasks, .*\)$/),
  ]);
  expect((await b.pipe(['log', 'one'])).lines).toContain('line 30');
  expect((await b.pipe(['run'])).lines).toHaveLength(1);

  const c = project();
  expect((await c.pipe(['cache', 'pull'])).out).toMatch(/: 2 fetched \(.*\); 2 of 2 results of talk are here\n$/);
  expect((await c.pipe(['verify'])).out).toContain('2 records');
  vi.stubEnv('PIPE_CACHE_REMOTE', 'none');
  expect((await c.pipe(['run'])).lines).toEqual([expect.stringMatching(/^talk: up to date \(2 tasks/)]);
});

test('cache stat and push: what is there, what was not, as text and as JSON', async () => {
  const a = project({});
  await a.pipe(['run']);
  const without = await a.pipe(['cache', 'stat']);
  expect(without).toMatchObject({ code: 2, err: expect.stringContaining('this project has no shared cache') });
  a.write('pipe.config.yaml', config());
  expect((await a.pipe(['cache', 'stat'])).out).toMatch(
    /answers in \d+ ms; read-write; records are not signed\n {2}it has 0 of the 2 results in cache\/\n$/,
  );
  expect(JSON.parse((await a.pipe(['cache', 'push', '--json'])).out)).toMatchObject({ sent: 2, there: 0, unsent: 0 });
  expect((await a.pipe(['cache', 'push', 'talk', 'one'])).out).toMatch(/: 0 results sent \(0 B\), 1 were there\n$/);
  expect(JSON.parse((await a.pipe(['cache', 'stat', '--json'])).out)).toMatchObject({
    kind: 'folder',
    mode: 'read-write',
    signed: false,
    results: 2,
    there: 2,
  });
  const pulled = await project().pipe(['cache', 'pull', 'talk', 'one', '--json']);
  expect(JSON.parse(pulled.out)).toMatchObject({ pipeline: 'talk', wanted: 1, here: 1, fetched: 1 });
  vi.stubEnv('PIPE_CACHE_MODE', 'read-only');
  expect(await a.pipe(['cache', 'push'])).toMatchObject({ code: 2, err: expect.stringContaining('is read-only here') });
});

test('a pull of what is not there ends with 1, and so does a push to what is dead', async () => {
  const a = project();
  expect(await a.pipe(['cache', 'pull'])).toMatchObject({ code: 1, out: expect.stringContaining('0 of 2 results') });
  await a.pipe(['run']);
  vi.stubEnv('PIPE_CACHE_REMOTE', 'http://127.0.0.1:9/');
  const pushed = await a.pipe(['cache', 'push']);
  expect(pushed).toMatchObject({ code: 1, out: expect.stringContaining('2 could not be sent') });
  expect(pushed.err).toContain('ECONNREFUSED');
  expect(await a.pipe(['cache', 'stat'])).toMatchObject({ code: 1, out: expect.stringContaining('does not answer') });
});

test('wrong settings: where, what, and what to write; a secret is never repeated', async () => {
  const secret = 'hunter2hunter2';
  const wrong = async (text: string, env: Readonly<Record<string, string>> = {}) => {
    for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
    const { code, out, err } = await project({ 'pipe.config.yaml': text }).pipe(['run']);
    vi.unstubAllEnvs();
    expect(code).toBe(2);
    expect(out + err).not.toContain(secret);
    return err;
  };
  expect(await wrong('cache: { remote: x, mod: read-only }\n')).toContain(
    'pipe.config.yaml:1:21: unknown key "mod"\n  1 | cache: { remote: x, mod: read-only }',
  );
  expect(await wrong('cahce: x\n')).toContain('did you mean "cache"?');
  expect(await wrong(`cache: https://me:${secret}@example.org/\n`)).toContain(
    'set PIPE_CACHE_USER and PIPE_CACHE_PASSWORD',
  );
  expect(await wrong('cache: ftp://example.org/\n')).toContain('begins with ftp');
  expect(await wrong('cache: s3:///prefix\n')).toContain('names no bucket');
  expect(await wrong(config(), { PIPE_CACHE_MODE: secret })).toContain('read-write or read-only');
  expect(await wrong(config(), { PIPE_CACHE_KEY: secret })).toContain('too short to sign with');
  expect(await wrong('', { PIPE_CACHE_REMOTE: `http://${secret}:@example.org` })).toContain('PIPE_CACHE_REMOTE holds');
});

test('a signed cache says so, and its key is in no file of it or of the project', async () => {
  const key = 'the key of this test, and of no other';
  vi.stubEnv('PIPE_CACHE_KEY', key);
  const a = project();
  expect((await a.pipe(['run'])).code).toBe(0);
  expect((await a.pipe(['cache', 'stat'])).out).toContain('signed records only');
  const { readFileSync, statSync } = await import('node:fs');
  for (const folder of [shared, a.root]) {
    for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
      const path = join(folder, name);
      if (statSync(path).isFile()) expect(readFileSync(path).includes(key), path).toBe(false);
    }
  }
});
