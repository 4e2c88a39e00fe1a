/** How fast the engine digests a large file, against node:crypto alone. */
import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { concurrently } from '../engine/concurrently.ts';
import { openDigester } from '../engine/digest.ts';
import { digestFile } from '../engine/hashing.ts';
import { openMemo } from '../engine/memo.ts';
import { type Figure, ratesOf, type Subject, sampleOf, takeTurns } from './figure.ts';

const gibibytes = 1;
const chunkBytes = 4 << 20;
const chunks = (gibibytes * 2 ** 30) / chunkBytes;

export const sha256: Subject = { name: 'sha256', measure };

async function measure(rounds: number): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'pipe-bench-'));
  try {
    const path = join(folder, 'file');
    const other = join(folder, 'other');
    const chunk = Buffer.alloc(chunkBytes, 'content');
    for (const file of [path, other]) write(file, chunk);
    const inMemory = bareInMemory(chunk);
    for (const digest of [await digestFile(path), bareFromFile(path), ...(await digestBoth(path, other))]) {
      if (digest !== inMemory) throw new Error(`the file's digest is ${inMemory}, and ${digest} was computed`);
    }
    const seconds = await takeTurns(rounds, {
      ours: () => digestFile(path),
      file: () => bareFromFile(path),
      memory: () => bareInMemory(chunk),
      both: () => digestBoth(path, other),
    });
    const recognised = await recognition(folder, path, rounds);
    const figure = { unit: 'GiB/s', measured: ratesOf(gibibytes, seconds.ours), bar: { ratio: 0.9 } } as const;
    const against = (what: string, times: readonly number[]) => ({ what, sample: ratesOf(gibibytes, times) });
    return [
      {
        ...figure,
        what: 'sha256 of a file of 1 GiB, against the same file',
        against: against('node:crypto, the same file', seconds.file),
      },
      {
        ...figure,
        what: 'sha256 of a file of 1 GiB, against memory',
        against: against('node:crypto, from memory', seconds.memory),
      },
      {
        what: 'sha256 of two files of 1 GiB, both at a time',
        unit: 'GiB/s',
        measured: ratesOf(2 * gibibytes, seconds.both),
        against: against('node:crypto, one of them', seconds.file),
        // 0.9 of what node:crypto does, on each of two cores.
        bar: availableParallelism() > 1 ? { ratio: 1.8 } : undefined,
      },
      {
        what: 'a file of 1 GiB that is known, recognised',
        unit: 's',
        measured: sampleOf(recognised),
        bar: { value: 0.2 },
      },
    ];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The digests of two files, as the engine finds those of several. */
async function digestBoth(...paths: [string, string]): Promise<string[]> {
  const digests: string[] = [];
  await concurrently(paths, async (path) => {
    digests.push(await digestFile(path));
  });
  return digests;
}

/** Seconds in which a digester knows again, by what `stat` says, a file that one before it has digested. */
async function recognition(folder: string, path: string, rounds: number): Promise<number[]> {
  const memo = openMemo(join(folder, 'memo'));
  const first = openDigester(memo);
  await first.of(path);
  first.save();
  const { again } = await takeTurns(rounds, { again: () => openDigester(memo).of(path) });
  return again;
}

/** Just written, the file is in the system's cache: what is compared is reading and digesting, not a disk. */
function write(path: string, chunk: Buffer): void {
  const file = openSync(path, 'w');
  for (let i = 0; i < chunks; i++) writeSync(file, chunk);
  closeSync(file);
}

/** The plain loop: read a chunk, digest it. */
function bareFromFile(path: string): string {
  const file = openSync(path, 'r');
  const buffer = Buffer.allocUnsafeSlow(chunkBytes);
  const hash = createHash('sha256');
  for (let bytes = readSync(file, buffer); bytes > 0; bytes = readSync(file, buffer))
    hash.update(buffer.subarray(0, bytes));
  closeSync(file);
  return hash.digest('hex');
}

/** No reading at all: the same chunk again and again. */
function bareInMemory(chunk: Buffer): string {
  const hash = createHash('sha256');
  for (let i = 0; i < chunks; i++) hash.update(chunk);
  return hash.digest('hex');
}
