/** Files so large that several are digested at a time come out as each by itself. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { concurrently } from '../engine/concurrently.ts';
import { digestFile } from '../engine/hashing.ts';
import { meeting, missingShim } from './faults/shim.ts';
import { soundRecords } from './faults/subject.ts';
import { type CommandProject, openProjectFolder, repository } from './support/checkout.ts';

const large = 64 << 20;

const stage = `import { cpSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Makes large files.', params: {}, inputs: { from: { description: 'a folder' } },
  outputs: { folder: { description: 'copies', path: 'folder' }, file: { description: 'a file', path: 'file' } },
  run({ inputs, outputs }) {
    cpSync(inputs.from, outputs.folder, { recursive: true });
    writeFileSync(outputs.file, readdirSync(inputs.from).join());
    truncateSync(outputs.file, ${large + 5});
  },
});
`;

let project: CommandProject;
const names = ['a', 'b', 'd/e'];
beforeAll(() => {
  project = openProjectFolder({
    'stages/large.ts': stage,
    'pipelines/large.yaml': 'stages: { large: { uses: large, in: { from: { file: data } } } }\n',
  });
  mkdirSync(join(project.root, 'data/d'), { recursive: true });
  for (const [index, name] of names.entries()) {
    const path = join(project.root, 'data', name);
    writeFileSync(path, name);
    // What is not written is zeros, and takes no room.
    truncateSync(path, large + index);
  }
});
afterAll(() => project.remove());

/** What is digested when nothing is remembered of files, by as many threads as the machine has cores, or by one. */
function statusAfresh(threads: 'many' | 'one') {
  rmSync(join(project.root, 'cache/memo/digests.json'), { force: true });
  const [program, ...args] = [...(threads === 'one' ? ['taskset', '-c', '0'] : []), process.execPath];
  const words = [...args, join(repository, 'dist/pipe.mjs'), 'status', 'large', '--check'];
  return spawnSync(program!, words, { cwd: project.root, encoding: 'utf8' });
}

test('inputs and outputs of several large files have the digests of their content', { timeout: 120_000 }, async () => {
  const told = await project.run(['large']);
  expect(told, told.stderr).toMatchObject({ code: 0, executed: ['large'] });
  // Every file in the store is named by its content, as node:crypto finds it.
  const [record] = soundRecords(join(project.root, 'cache'));
  expect(record?.outputs).toMatchObject({ file: { bytes: large + 5 }, folder: { bytes: 3 * large + 3 } });
  expect((await project.pipe(['verify'])).code).toBe(0);

  expect(statusAfresh('many'), 'with threads').toMatchObject({ status: 0 });
  const alone = statusAfresh('one');
  if (alone.error === undefined) expect(alone, 'with one').toMatchObject({ status: 0 });
  else console.log(`skipped, there is no taskset: ${alone.error.message}`);

  // A byte in the middle of one of them.
  const path = join(project.root, 'data/b');
  const flip = (byte: number) => {
    const file = openSync(path, 'r+');
    writeSync(file, Buffer.from([byte]), 0, 1, large >> 1);
    closeSync(file);
  };
  flip(1);
  expect(statusAfresh('many')).toMatchObject({ status: 1 });
  flip(0);
  expect(statusAfresh('many')).toMatchObject({ status: 0 });
});

test('a damaged large blob is found among others', { timeout: 120_000 }, async () => {
  const [record] = soundRecords(join(project.root, 'cache'));
  const { digest } = record!.outputs.file!;
  const blob = join(project.root, 'cache/cas', digest.slice(0, 2), digest);
  const file = openSync(blob, 'r+');
  writeSync(file, 'x', large);
  closeSync(file);
  const end = await project.pipe(['verify']);
  expect(end, end.stderr).toMatchObject({ code: 1, stdout: expect.stringContaining(digest.slice(0, 12)) });
  expect((await project.run(['large'])).executed).toEqual(['large']);
});

test('large files that cannot be read are told of as small ones are', { timeout: 60_000 }, async (context) => {
  const missing = missingShim();
  if (missing !== null) context.skip(missing);
  rmSync(join(project.root, 'cache/memo/digests.json'), { force: true });
  const fault = { under: join(project.root, 'data/'), operations: 'read', at: 4, what: 'EIO', lasts: true } as const;
  const end = await project.pipe(['run', 'large'], meeting(fault));
  expect(end, end.stderr).toMatchObject({ code: 1 });
  expect(end.stderr + end.stdout).toMatch(/input `from`: EIO: i\/o error/);
});

test('more files than cores, more than once, each by its own digest', { timeout: 60_000 }, async () => {
  const digestOf = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
  const paths = names.map((name) => join(project.root, 'data', name));
  const found = new Map<string, string>();
  await concurrently([...paths, ...paths], async (path) => {
    found.set(path, await digestFile(path));
  });
  expect(Object.fromEntries(found)).toEqual(Object.fromEntries(paths.map((path) => [path, digestOf(path)])));
  const withAbsent = concurrently([...paths, join(project.root, 'absent')], async (path) => {
    await digestFile(path);
  });
  await expect(withAbsent).rejects.toThrow('ENOENT');
});
