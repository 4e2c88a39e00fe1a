/** The addon's build: where it lies, and what is said where there can be none. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addon } from './native/case.ts';

const script = join(import.meta.dirname, '..', 'scripts', 'build-native.mjs');
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pipe-build-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

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

  test.each(['off'])('PIPE_NATIVE=%s makes it unavailable', (value) => {
    expect(build({ PIPE_NATIVE: value })).toMatchObject({ status: 1, stderr: 'PIPE_NATIVE=off\n' });
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
