import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { expect, onTestFinished, test, vi } from 'vitest';
import { type Catalog, type Entry, openCatalog } from '../engine/catalog.ts';
import { sha256 } from '../engine/digest.ts';
import { openMemo } from '../engine/memo.ts';

/** What a process does to a store of a hundred records, by their numbers. */
const deed = fc.record({
  what: fc.constantFrom('make', 'make elsewhere', 'remove', 'lose'),
  many: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.constant(90)),
  from: fc.nat(99),
});

test('whatever processes do to a store, what they remember of it is what it holds', { timeout: 60_000 }, () => {
  // A mark is believed some time after the last change only: here that time is always over, and the disk's clock moves on.
  const clock = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 3_600_000);
  onTestFinished(() => clock.mockRestore());
  fc.assert(
    fc.property(fc.array(fc.array(deed, { maxLength: 3 }), { minLength: 2, maxLength: 5 }), (processes) => {
      const cache = mkdtempSync(join(tmpdir(), 'pipe-catalog-'));
      try {
        for (const deeds of processes) {
          const catalog = open(cache);
          awaitTick(cache);
          expect(all(catalog)).toEqual(all(openCatalog(cache, forgetful, (key) => read(cache, key))));
          for (const { what, many, from } of deeds) {
            for (let i = 0; i < many; i++) {
              const entry = entryOf((from + i) % 100);
              if (what === 'lose') rmSync(blobPath(cache, entry), { force: true });
              else if (what === 'remove') {
                rmSync(recordPath(cache, entry.key), { force: true });
                catalog.remove(entry.key);
              } else {
                write(blobPath(cache, entry), 'blob');
                write(recordPath(cache, entry.key), String((from + i) % 100));
                if (what === 'make') catalog.add(entry);
              }
            }
          }
          catalog.save();
          awaitTick(cache);
        }
      } finally {
        rmSync(cache, { recursive: true });
      }
    }),
    { numRuns: 25 },
  );
});

test('where one record of many has come, little is written', () => {
  const cache = mkdtempSync(join(tmpdir(), 'pipe-catalog-'));
  try {
    for (let number = 0; number < 100; number++) put(cache, number);
    open(cache).save();
    const whole = readFileSync(join(cache, 'memo/catalog.json'));
    put(cache, 100);
    open(cache).save();
    expect(readFileSync(join(cache, 'memo/catalog.json'))).toEqual(whole);
    expect(open(cache).find(entryOf(100).key)).toEqual(entryOf(100));
  } finally {
    rmSync(cache, { recursive: true });
  }
});

const forgetful = { read: () => undefined, write: () => undefined };

const open = (cache: string) => openCatalog(cache, openMemo(join(cache, 'memo')), (key) => read(cache, key));

const all = (catalog: Catalog) => [...catalog.all()].sort((a, b) => (a.key < b.key ? -1 : 1));

function entryOf(number: number): Entry {
  // In few folders: making one costs more than a file.
  const [key, digest] = ['key', 'blob'].map((kind) => `0${number % 4}${sha256(`${kind} ${number}`).slice(2)}`) as [
    string,
    string,
  ];
  const outputs = { out: { kind: 'file', digest, bytes: 4 } } as const;
  return { key, task: `task ${number}`, run: 'run', startedAt: 'now', seconds: 1, outputs, others: [] };
}

const recordPath = (cache: string, key: string) => join(cache, 'ac', key.slice(0, 2), key);

function blobPath(cache: string, { outputs }: Entry): string {
  const { digest } = outputs.out!;
  return join(cache, 'cas', digest.slice(0, 2), digest);
}

function read(cache: string, key: string): Entry {
  return entryOf(Number(readFileSync(recordPath(cache, key), 'utf8')));
}

function put(cache: string, number: number): void {
  const entry = entryOf(number);
  write(blobPath(cache, entry), 'blob');
  write(recordPath(cache, entry.key), String(number));
}

function write(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

/** Comes back when a change is given another time than those before it. */
function awaitTick(folder: string): void {
  const probe = join(folder, 'probe');
  const touched = () => {
    writeFileSync(probe, '');
    return statSync(probe, { bigint: true }).mtimeNs;
  };
  const before = touched();
  while (touched() === before);
}
