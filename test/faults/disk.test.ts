/** A disk that errs, is full or takes nothing: the run says so, keeps what is finished, and the next one goes on. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openLedger } from './ledger.ts';
import { countedIn, type Fault, meeting, missingShim } from './shim.ts';
import { expectResults, openSubject, recover, type Subject, soundRecords } from './subject.ts';

const count = openLedger('disk');
let subject: Subject;
beforeAll(async () => {
  subject = await openSubject();
});
afterAll(() => subject.remove());

/** A run that meets an error ends in its own words: all is right, or a task or the run failed. A stack would be a defect. */
async function expectWords(environment: Record<string, string>, what: string): Promise<void> {
  const end = await subject.pipe(['run', 'relay', '-j', '2'], environment);
  expect([0, 1], `${what}: ${end.stderr}${end.stdout}`).toContain(end.code);
  expect(end.stderr + end.stdout, what).not.toMatch(/^\s+at .*\.mjs/m);
  if (end.code === 0) expectResults(subject);
}

const errors: readonly Pick<Fault, 'operations' | 'what' | 'lasts'>[] = [
  { operations: 'write', what: 'EIO' },
  { operations: 'write', what: 'ENOSPC', lasts: true },
  { operations: 'read', what: 'EIO' },
  { operations: 'publish', what: 'EIO', lasts: true },
];

test.each(errors)(
  '$what of a $operations operation (lasting: $lasts), early and late',
  { timeout: 300_000 },
  async (fault) => {
    const missing = missingShim();
    if (missing !== null) return void console.log(`skipped: ${missing}`);
    const countIn = join(subject.root, 'count');
    subject.restore('new');
    await subject.run(['relay', '-j', '2'], meeting({ ...fault, under: subject.cache, at: 0, countIn }));
    const operations = countedIn(countIn);
    expect(operations).toBeGreaterThan(20);
    const steps = 14;
    for (let step = 0; step < steps; step++) {
      const at = 1 + Math.floor((step * operations) / steps);
      subject.restore('new');
      await expectWords(meeting({ ...fault, under: subject.cache, at }), `${fault.what} at ${at} of ${operations}`);
      await recover(subject);
      count(`${fault.what} of a ${fault.operations} operation${fault.lasts ? ' and all after it' : ''}`);
    }
  },
);

test('a cache that cannot be written to: what is done is up to date, what is not fails in words', {
  timeout: 120_000,
}, async (context) => {
  const missing = missingShim();
  if (missing !== null) return context.skip(missing);
  const readOnly = (operations: Fault['operations']) =>
    meeting({ under: subject.cache, operations, at: 1, what: 'EROFS', lasts: true });
  subject.restore('done');
  const fresh = await subject.run(['relay'], readOnly('write'));
  expect(fresh, fresh.stderr).toMatchObject({ code: 0, executed: [] });
  for (const args of [
    ['status', '--check'],
    ['verify'],
    ['lineage', 'results/relay/joined.txt'],
    ['log', 'joined'],
    ['why', 'last'],
  ]) {
    const end = await subject.pipe(args, readOnly('write'));
    expect(end, `${args.join(' ')}: ${end.stderr}`).toMatchObject({ code: 0 });
    count('read-only cache');
  }
  subject.restore('new');
  const end = await subject.pipe(['run', 'relay'], readOnly('write'));
  expect(end.code).toBe(1);
  expect(end.stdout + end.stderr).toMatch(/EROFS|takes no more/);
  expect(end.stdout + end.stderr).not.toMatch(/^\s+at .*\.mjs/m);
  await recover(subject);
  count('read-only cache', 2);
});

/** Mounts a disk of so many bytes as the cache. @returns what takes it away, or why there is none. */
function smallDisk(bytes: number): (() => void) | string {
  try {
    mkdirSync(subject.cache, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', subject.cache], { stdio: 'pipe' });
    return () => execFileSync('umount', ['-l', subject.cache]);
  } catch (thrown) {
    return `no small disk can be mounted here: ${(thrown as Error).message.split('\n')[0]}`;
  }
}

test('a disk that is too small by more and more: what fits is kept, and with room the rest follows', {
  timeout: 300_000,
}, async (context) => {
  subject.restore('new');
  const prepared = join(subject.root, 'prepared');
  rmSync(prepared, { recursive: true, force: true });
  cpSync(subject.cache, prepared, { recursive: true, preserveTimestamps: true });
  for (const pages of [1, 3, 6, 10, 16, 24, 36]) {
    rmSync(subject.cache, { recursive: true, force: true });
    rmSync(join(subject.root, 'results'), { recursive: true, force: true });
    const unmount = smallDisk(64 << 20);
    if (typeof unmount === 'string') return context.skip(unmount);
    try {
      cpSync(prepared, subject.cache, { recursive: true, preserveTimestamps: true });
      // Filled but for so many pages.
      const used = execFileSync('df', ['--output=avail', '-B1', subject.cache], { encoding: 'utf8' });
      const free = Number(used.trim().split('\n').at(-1));
      writeFileSync(join(subject.cache, 'filling'), Buffer.alloc(free - pages * 4096));
      await expectWords({}, `${pages} pages left`);
      soundRecords(subject.cache);
      rmSync(join(subject.cache, 'filling'));
      await recover(subject);
      expect(readdirSync(join(subject.cache, 'ac')).length).toBeGreaterThan(0);
      count('full disk');
    } finally {
      unmount();
    }
  }
});
