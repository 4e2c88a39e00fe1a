/** Builds dist/launcher, the program that starts commands for the engine, from engine/launcher.cc: on Linux, with a compiler. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { compiler } from './build-native.mjs';

const root = dirname(import.meta.dirname);

/** The text of a file, or null when there is none. */
const textOf = (path) => readFile(path, 'utf8').catch(() => null);

/**
 * Builds the launcher unless it was built from the same source: that lies beside it. Where it cannot be built there is none, and
 * worker processes run commands, more slowly. Safe in several processes at once.
 */
export async function buildLauncher() {
  const source = join(root, 'engine', 'launcher.cc');
  const program = join(root, 'dist', 'launcher');
  const madeFrom = `${program}.cc`;
  const text = await readFile(source, 'utf8');
  if (process.platform !== 'linux' || text === (await textOf(madeFrom))) return;
  await mkdir(dirname(program), { recursive: true });
  const temporary = `${program}.${process.pid}`;
  try {
    await promisify(execFile)(compiler(), ['-std=c++17', '-O2', '-Wall', '-Wextra', source, '-o', temporary]);
    await rename(temporary, program);
    await writeFile(temporary, text);
    await rename(temporary, madeFrom);
  } catch (error) {
    await rm(program, { force: true });
    // Without a compiler there is none, which the native addon's build tells.
    if (error.code !== 'ENOENT')
      console.error(`pipe: no launcher, worker processes run commands\n${error.stderr ?? error}`);
  } finally {
    await rm(temporary, { force: true });
  }
}
