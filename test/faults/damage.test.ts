/** Truncated and flipped files of the cache: found by `verify`, named with what it costs, and never served. */
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseChecked } from '../../engine/checked.ts';
import { openGraph } from '../../engine/graphs.ts';
import { makePlan } from '../../engine/plan.ts';
import type { TaskRecord } from '../../engine/record.ts';
import { parseRecord } from '../../engine/record_text.ts';
import { verify } from '../../engine/verify.ts';
import { openWorkspace, type Workspace } from '../../engine/workspace.ts';
import { Random } from '../../model/random.ts';
import { openLedger } from './ledger.ts';
import { blobsOf, expectResults, openSubject, type Subject, soundRecords, storedFiles, taskIds } from './subject.ts';

const count = openLedger('damage');
const random = new Random(11, 'damage');

/** A file of the cache as it was written. */
interface Kept {
  readonly path: string;
  readonly content: Buffer;
  readonly mode: number;
  readonly mtime: Date;
}

let subject: Subject;
let files: Kept[];
/** Digest of a blob -> the tasks whose records stand on it. */
const standing = new Map<string, string[]>();

beforeAll(async () => {
  subject = await openSubject();
  subject.restore('done');
  files = ['ac', 'cas', 'runs', 'memo', 'code'].flatMap((area) =>
    // A journal is followed while it grows, and ends anywhere after a kill: nothing is decided by it.
    storedFiles(join(subject.cache, area))
      .filter((path) => !path.endsWith('.events'))
      .map((path) => {
        const { mode, mtime } = statSync(path);
        return { path, content: readFileSync(path), mode, mtime };
      }),
  );
  for (const record of soundRecords(subject.cache)) {
    for (const digest of blobsOf(subject.cache, record))
      standing.set(digest, [...(standing.get(digest) ?? []), record.task]);
  }
});
afterAll(() => subject.remove());

/** Puts a file back as it was. */
function putBack({ path, content, mode, mtime }: Kept): void {
  mkdirSync(dirname(path), { recursive: true });
  rmSync(path, { force: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
  utimesSync(path, mtime, mtime);
}

/** Writes other bytes into a file, in place; `silent` as a disk does that errs: no time moves. */
function damage({ path, mode, mtime }: Kept, content: Buffer, silent: boolean): void {
  chmodSync(path, 0o644);
  writeFileSync(path, content);
  chmodSync(path, mode);
  if (silent) utimesSync(path, mtime, mtime);
}

async function opened<T>(use: (workspace: Workspace) => Promise<T>): Promise<T> {
  const workspace = openWorkspace(subject.root);
  try {
    return await use(workspace);
  } finally {
    await workspace.close();
  }
}

const flipped = (content: Buffer, bit: number) => {
  const other = Buffer.from(content);
  other[bit >> 3]! ^= 1 << (bit & 7);
  return other;
};

/** Every length of a small file; of a larger one the first and last ones, and some between. */
function lengths(bytes: number, few: number): number[] {
  if (bytes <= 2 * few) return Array.from({ length: bytes }, (_, i) => i);
  const ends = Array.from({ length: few / 4 }, (_, i) => [i, bytes - 1 - i]).flat();
  return [...ends, ...Array.from({ length: few / 2 }, () => random.integer(bytes))];
}

/** Verifies the damaged cache, compares the report with what must be in it, and puts everything back. */
async function expectFound(file: Kept): Promise<void> {
  const area = relative(subject.cache, file.path).split('/')[0]!;
  const name = basename(file.path);
  const report = await opened(verify);
  const found = report.damaged.map(({ path }) => path);
  expect(found, relative(subject.cache, file.path)).toContain(file.path);
  const lost =
    area === 'cas'
      ? (standing.get(name) ?? [])
      : area === 'ac'
        ? [(JSON.parse(file.content.toString('utf8')) as TaskRecord).task]
        : [];
  expect(new Set(report.recompute.map(({ task }) => task))).toEqual(new Set(lost));
  const aside = storedFiles(join(subject.cache, 'quarantine')).map((path) => basename(path));
  expect(aside.some((put) => put.startsWith(name))).toBe(true);
  rmSync(join(subject.cache, 'quarantine'), { recursive: true });
  for (const other of files) {
    const isMemo = other.path.includes('/memo/');
    if (isMemo || found.includes(other.path)) putBack(other);
  }
}

test('verify finds every truncation and flip, says what it costs, and puts it aside', {
  timeout: 300_000,
}, async () => {
  for (const file of files) {
    // A bundle of hundreds of kilobytes is one file like another.
    const few = file.content.length > 100_000 ? 8 : 32;
    for (const length of lengths(file.content.length, few)) {
      damage(file, file.content.subarray(0, length), length % 2 === 0);
      await expectFound(file);
      count('truncation of a file in cache/, found by verify');
    }
    for (let n = 0; n < Math.min(few, file.content.length * 8); n++) {
      damage(file, flipped(file.content, random.integer(file.content.length * 8)), n % 2 === 0);
      await expectFound(file);
      count('flipped bit in a file in cache/, found by verify');
    }
  }
  expect(await opened(verify)).toMatchObject({ damaged: [], recompute: [], records: taskIds.length });
});

test('no truncation and no flipped bit of a record or memo is believed', () => {
  for (const { path, content } of files) {
    const isRecord = path.includes('/ac/');
    if (!isRecord && !/\/(memo|runs)\//.test(path)) continue;
    const read = (bytes: Buffer) => (isRecord ? parseRecord(bytes, basename(path)) : parseChecked(bytes)) ?? null;
    expect(read(content)).not.toBe(null);
    for (let length = 0; length < content.length; length++) expect(read(content.subarray(0, length))).toBe(null);
    count('truncation of a record, run or memo in memory, at every length', content.length);
    for (let bit = 0; bit < content.length * 8; bit += 7) expect(read(flipped(content, bit))).toBe(null);
    count('flipped bit of a record, run or memo in memory', Math.ceil((content.length * 8) / 7));
  }
});

test('a damaged memo, run, bundle or record changes neither a key nor what is up to date', {
  timeout: 120_000,
}, async () => {
  const plan = () =>
    opened(async (workspace) => {
      const graph = await openGraph(workspace, { file: 'pipelines/relay.yaml' });
      const { tasks } = await makePlan(workspace, graph);
      return tasks.map((planned) => ('key' in planned ? `${planned.state} ${planned.key}` : planned.state));
    });
  const before = await plan();
  expect(before.every((line) => line.startsWith('fresh'))).toBe(true);
  for (const file of files) {
    if (file.path.includes('/cas/') || file.path.includes('/ac/')) continue;
    for (let n = 0; n < 3; n++) {
      damage(file, flipped(file.content, random.integer(file.content.length * 8)), n !== 1);
      expect(await plan(), file.path).toEqual(before);
      for (const other of files) if (other.path.includes('/memo/') || other === file) putBack(other);
      count('flipped bit in a memo, run or bundle before a plan');
    }
  }
});

test('what is damaged is not published; the run says so or computes it again, and the next one puts it right', {
  timeout: 300_000,
}, async () => {
  // The log of a silent command is empty: there is nothing to damage.
  const stored = files.filter(({ path, content }) => /\/(cas|ac)\//.test(path) && content.length > 0);
  for (const file of stored) {
    subject.restore('done');
    rmSync(join(subject.root, 'results'), { recursive: true });
    if (random.integer(2) === 0) damage(file, file.content.subarray(0, random.integer(file.content.length)), true);
    else damage(file, flipped(file.content, random.integer(file.content.length * 8)), false);
    const first = await subject.run(['relay']);
    if (first.code !== 0) {
      expect(first.code).toBe(1);
      expect(first.events.some(({ type }) => type === 'quarantined')).toBe(true);
      expect((await subject.run(['relay'])).code).toBe(0);
    }
    expectResults(subject);
    count('damaged blob or record before a run');
  }
});
