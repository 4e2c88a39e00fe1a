/** The stage unpack: archives of the real tar come out as they went in; those that would write elsewhere are refused. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { type Header, pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StageError } from '../engine/stage.ts';
import unpack from '../stages/unpack.ts';
import { openWorkshop, type Workshop } from './support/stages.ts';

let shop: Workshop;
beforeAll(() => {
  shop = openWorkshop();
});
afterAll(() => shop.remove());

type Entry = Partial<Header> & { readonly name: string; readonly content?: string };
let archives = 0;

/** An archive of entries as they are given, however evil. */
async function archiveOf(entries: readonly Entry[]): Promise<string> {
  const archive = pack();
  for (const { content = '', ...header } of entries) archive.entry(header as Header, content);
  archive.finalize();
  const pieces: Buffer[] = [];
  for await (const piece of archive) pieces.push(piece as Buffer);
  const path = join(shop.folder, `archive-${archives++}.tar`);
  writeFileSync(path, Buffer.concat(pieces));
  return path;
}

const open = (archive: string, strip = 0) => shop.run(unpack, { inputs: { archive }, params: { strip } });
const filesIn = (folder: string) => readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();

test.each([
  ['-cf', 'gnu'],
  ['-czf', 'gnu'],
  ['-cf', 'pax'],
  ['-czf', 'ustar'],
])('what tar %s --format=%s packed comes out as it was', async (flags, format) => {
  const folder = join(shop.folder, `tree-${flags}-${format}`);
  mkdirSync(join(folder, 'data', 'empty'), { recursive: true });
  const long = `${'n'.repeat(90)}.txt`;
  writeFileSync(join(folder, 'data', long), 'long');
  writeFileSync(join(folder, 'data', 'größe.bin'), Buffer.alloc(200_000, 7));
  const archive = join(folder, 'archive');
  execFileSync('tar', [flags, archive, `--format=${format}`, '-C', folder, './data']);
  const { outputs, measurements } = await open(archive);
  expect(filesIn(outputs.folder!)).toEqual(['data', 'data/empty', 'data/größe.bin', `data/${long}`].sort());
  expect(readFileSync(join(outputs.folder!, 'data', 'größe.bin'))).toEqual(Buffer.alloc(200_000, 7));
  expect(measurements).toEqual({ 'unpacked bytes': 200_004 });
});

test('strip leaves leading folders out', async () => {
  const archive = await archiveOf([
    { name: 'top/', type: 'directory' },
    { name: 'top/a/b.txt', content: 'b' },
    { name: 'README', content: 'above' },
  ]);
  expect(filesIn((await open(archive, 1)).outputs.folder!)).toEqual(['a', 'a/b.txt']);
  await expect(open(archive, 3)).rejects.toThrow('holds no file below 3 folders');
});

describe('is refused:', () => {
  test.each<[string, readonly Entry[], string]>([
    ['a path that climbs out', [{ name: '../evil', content: 'x' }], 'leads out of its folder'],
    ['one that climbs out later', [{ name: 'a/../../evil', content: 'x' }], 'leads out of its folder'],
    ['an absolute path', [{ name: '/tmp/pipe-evil', content: 'x' }], 'is absolute'],
    ['a path with backslashes', [{ name: '..\\evil', content: 'x' }], 'leads out of its folder'],
    ['a symbolic link', [{ name: 'a', type: 'symlink', linkname: '/etc' }], 'holds a link, a -> /etc'],
    [
      'a link within',
      [
        { name: 'a', content: 'x' },
        { name: 'b', type: 'symlink', linkname: 'a' },
      ],
      'holds a link, b -> a',
    ],
    ['a hard link', [{ name: 'a', type: 'link', linkname: '/etc/hostname' }], 'holds a link'],
    ['a device', [{ name: 'a', type: 'character-device' }], 'neither a file nor a folder (character-device)'],
    [
      'a path that comes twice',
      [
        { name: 'a', content: '1' },
        { name: './a', content: '2' },
      ],
      'holds a twice',
    ],
    [
      'a file below a file',
      [
        { name: 'a', content: '1' },
        { name: 'a/b', content: '2' },
      ],
      'both a file and a folder',
    ],
    [
      'a file in the place of a folder',
      [
        { name: 'a/b', content: '1' },
        { name: 'a', content: '2' },
      ],
      'both a file and a folder',
    ],
    ['an archive of nothing', [], 'holds no file'],
  ])('%s', async (_, entries, message) => {
    const archive = await archiveOf(entries);
    await expect(open(archive)).rejects.toThrow(StageError);
    await expect(open(archive)).rejects.toThrow(message);
    expect(existsSync('/tmp/pipe-evil')).toBe(false);
  });

  test('what is no archive, or is cut short', async () => {
    const path = join(shop.folder, 'odd');
    writeFileSync(path, 'hello '.repeat(1000));
    await expect(open(path)).rejects.toThrow('no tar archive');
    const whole = readFileSync(await archiveOf([{ name: 'a', content: 'x'.repeat(5000) }]));
    writeFileSync(path, whole.subarray(0, 3000));
    await expect(open(path)).rejects.toThrow('no tar archive, or a damaged one');
    writeFileSync(path, gzipSync(whole).subarray(0, 40));
    await expect(open(path)).rejects.toThrow('no tar archive, or a damaged one');
  });

  test('whatever the paths are, nothing is written outside', async () => {
    const name = fc.array(fc.constantFrom('..', '.', '', 'a', 'b', '~', '\\', 'C:', '...', 'a b'), {
      minLength: 1,
      maxLength: 5,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          name.map((names) => names.join('/')),
          { minLength: 1, maxLength: 4 },
        ),
        async (names) => {
          fc.pre(names.every((each) => each !== ''));
          const archive = await archiveOf(names.map((each) => ({ name: each, type: 'file' as const, content: 'x' })));
          const { outputs } = await open(archive).catch((error: Error) => {
            expect(error).toBeInstanceOf(StageError);
            return { outputs: {} as Record<string, string> };
          });
          if (outputs.folder !== undefined) expect(filesIn(outputs.folder).length).toBeGreaterThan(0);
          expect(filesIn(shop.folder).filter((path) => /^(run-\d+\/)?(a|b|~|a b)(\/|$)/.test(path))).toEqual([]);
        },
      ),
      { numRuns: 100 },
    );
  });
});
