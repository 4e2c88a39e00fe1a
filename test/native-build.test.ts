/** The addon's build: where it lies, and what is said where there can be none. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addon } from './native/case.ts';

const script = join(import.meta.dirname, '..', 'scripts', 'build-native.mjs');
let folder: string;
/** Builds of compilers that are none, which no one should find. */
const made: string[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pipe-build-'));
});
afterAll(() => {
  for (const path of [folder, ...made]) rmSync(path, { recursive: true });
});

/** A compiler that names itself and then does what the shell lines say. */
function compiler(name: string, lines: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n[ "$1" = --version ] && echo "${folder} ${name}" && exit 0\n${lines}\n`);
  chmodSync(path, 0o755);
  return path;
}

function build(env: Record<string, string>) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return { status, stdout, stderr };
}

describe('the build', () => {
  test('is found again by its content', () => {
    addon();
    const { status, stdout } = build({});
    expect(status).toBe(0);
    expect(stdout.trim()).toMatch(/build\/native\/[0-9a-f]{64}\/pipe\.node$/);
    expect(existsSync(stdout.trim())).toBe(true);
  });

  test('PIPE_NATIVE=off makes it unavailable, and a value that means nothing is told', () => {
    expect(build({ PIPE_NATIVE: 'off' })).toMatchObject({ status: 1, stderr: 'PIPE_NATIVE=off\n' });
    const told = "PIPE_NATIVE is 'false', and only 'off' means something: unset it for native kernels\n";
    expect(build({ PIPE_NATIVE: 'false' })).toMatchObject({ status: 1, stderr: told });
  });

  test('goes on from what a killed one left, and removes what no build has used for a week', () => {
    addon();
    // Compiles and links to files that name the run they are of, and counts its calls.
    const calls = join(folder, 'calls');
    const working = compiler('working', `echo >> '${calls}'\nfor last; do :; done\necho made > "$last"`);
    const path = build({ CXX: working }).stdout.trim();
    made.push(dirname(path));
    const objects = join(dirname(path), '..', 'objects');
    const [killed, stale] = [join(objects, '.1-killed.o'), join(dirname(path), '..', 'stale')];
    const all = readFileSync(calls, 'utf8').length;
    // A kill between compiling and linking leaves objects, some under temporary names, and no addon.
    rmSync(path);
    writeFileSync(killed, 'half');
    mkdirSync(stale);
    for (const old of [killed, stale]) utimesSync(old, 0, 0);
    expect(build({ CXX: working })).toMatchObject({ status: 0 });
    expect(readFileSync(calls, 'utf8')).toHaveLength(all + 1);
    expect([path, killed, stale].map((each) => existsSync(each))).toEqual([true, false, false]);
  });

  test('says that there is no compiler', () => {
    const { status, stderr } = build({ CXX: join(folder, 'absent') });
    expect(status).toBe(1);
    expect(stderr).toContain(`no C++ compiler: '${join(folder, 'absent')}' cannot be run (install g++, or set CXX)`);
  });

  test('gives the compiler its say when it fails, and leaves no build behind', () => {
    const failing = compiler('failing', 'echo "this machine has no vectors" >&2; exit 1');
    const { status, stderr } = build({ CXX: failing });
    expect(status).toBe(1);
    expect(stderr).toContain(`the native addon does not build with ${failing}:\nthis machine has no vectors`);
    expect(build({ CXX: failing }).status).toBe(1);
  });
});
