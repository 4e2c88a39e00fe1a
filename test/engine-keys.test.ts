import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listingOf, markOf, openDigester, parseListing, unchanged } from '../engine/digest.ts';
import { digestFile } from '../engine/hashing.ts';
import { canonicalJson, manifestKey } from '../engine/manifest.ts';
import { openMemo } from '../engine/memo.ts';
import type { Manifest } from '../engine/record.ts';
import { openStore } from '../engine/store.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pipe-keys-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The same value with the keys of every object in another order. */
function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled);
  if (typeof value !== 'object' || value === null) return value;
  const result: Record<string, unknown> = Object.create(null);
  for (const [key, member] of Object.entries(value).reverse()) result[key] = shuffled(member);
  return result;
}

test('canonical JSON says the same value whatever the order of keys, and no two values alike', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
      expect(canonicalJson(shuffled(a))).toBe(canonicalJson(a));
      expect(JSON.parse(canonicalJson(a))).toEqual(JSON.parse(JSON.stringify(a)));
      const equal = JSON.stringify(shuffled(a)) === JSON.stringify(shuffled(b));
      if (equal) expect(canonicalJson(a)).toBe(canonicalJson(b));
      if (canonicalJson(a) === canonicalJson(b)) expect(a).toEqual(b);
    }),
  );
});

test('what JSON cannot hold is refused, not rounded into a key', () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, undefined, () => 0, { a: undefined }]) {
    expect(() => canonicalJson(value)).toThrow(TypeError);
  }
});

const digest = fc.stringMatching(/^[0-9a-f]{64}$/);
const dictionary = (value: fc.Arbitrary<unknown>) =>
  fc.dictionary(fc.string({ minLength: 1 }), value, { noNullPrototype: true });
const manifests = fc.record({
  contract: fc.constant(1 as const),
  action: fc.oneof(
    fc.record({ uses: fc.string() }),
    fc.record({ run: fc.oneof(fc.string(), fc.array(fc.string())), shell: fc.boolean() }),
  ),
  code: fc.option(digest),
  params: dictionary(fc.jsonValue()),
  env: dictionary(fc.string()),
  inputs: dictionary(fc.oneof(digest, fc.array(fc.record({ axes: dictionary(fc.jsonValue()), digest })))),
  outputs: dictionary(fc.string()),
}) as fc.Arbitrary<Manifest>;

test('any change of a manifest changes its key, the order in which it was written does not', () => {
  fc.assert(
    fc.property(manifests, fc.string({ minLength: 1 }), fc.jsonValue(), digest, (manifest, name, value, other) => {
      const key = manifestKey(manifest);
      expect(manifestKey(shuffled(manifest) as Manifest)).toBe(key);
      // By own keys: a parameter may be called `constructor`.
      const own = (values: object): unknown =>
        Object.hasOwn(values, name) ? (values as Record<string, unknown>)[name] : null;
      const changed: Manifest[] = [
        { ...manifest, code: manifest.code === other ? null : other },
        { ...manifest, params: { ...manifest.params, [name]: [own(manifest.params), value] as never } },
        { ...manifest, env: { ...manifest.env, [name]: `${own(manifest.env)}.` } },
        { ...manifest, inputs: { ...manifest.inputs, [name]: own(manifest.inputs) === other ? [] : other } },
        { ...manifest, outputs: { ...manifest.outputs, [name]: `${own(manifest.outputs)}.` } },
      ];
      for (const change of changed) expect(manifestKey(change)).not.toBe(key);
    }),
  );
});

test('a folder listing reads back as it was written, whatever the order, and never names a place outside', () => {
  const segment = fc.string({ minLength: 1 }).filter((name) => !/[/\0]|^\.\.?$/.test(name));
  const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const file = fc.record({ path, digest, bytes: fc.nat() });
  const emptyFolder = path.map((name) => ({ path: `${name}/`, digest: null, bytes: 0 }));
  const place = ({ path }: { path: string }) => path.replace(/\/$/, '');
  fc.assert(
    fc.property(fc.uniqueArray(fc.oneof(file, emptyFolder), { selector: place }), (entries) => {
      // A file has nothing below it.
      const places = entries.map(place);
      fc.pre(!places.some((one) => places.some((other) => other.startsWith(`${one}/`))));
      const text = listingOf(entries);
      expect(listingOf(entries.toReversed())).toBe(text);
      const byPath = (a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1);
      expect(parseListing(text)).toEqual(entries.toSorted(byPath));
    }),
  );
  const sha = 'a'.repeat(64);
  for (const path of ['../x', 'a/../../x', '/x', 'a//x', './x', 'a/./x', 'a\0', '', 'x/..'])
    expect(() => parseListing(listingOf([{ path, digest: sha, bytes: 0 }]))).toThrow('leads out');
  for (const paths of [
    ['x', 'x'],
    ['x', 'x/y'],
    ['x/y', 'x'],
    ['x/', 'x'],
  ])
    expect(() =>
      parseListing(
        `${JSON.stringify({ folder: 1, entries: paths.map((path) => [path, path.endsWith('/') ? null : sha, 0]) })}\n`,
      ),
    ).toThrow('twice');
});

test('folders go into the store and come out the same, and their digest is that of the folder outside', async () => {
  const cache = join(folder, 'cache');
  const memo = openMemo(join(cache, 'memo'));
  const store = openStore(cache, memo, () => undefined);
  const name = fc.stringMatching(/^[a-z]{1,4}$/);
  const tree = fc.dictionary(
    fc.tuple(name, name).map((parts) => parts.join('/')),
    fc.uint8Array(),
    {
      noNullPrototype: true,
      maxKeys: 6,
    },
  );
  let round = 0;
  await fc.assert(
    fc.asyncProperty(tree, async (files) => {
      round += 1;
      const source = join(folder, `tree-${round}`);
      mkdirSync(source);
      for (const [path, content] of Object.entries(files)) {
        mkdirSync(dirname(join(source, path)), { recursive: true });
        writeFileSync(join(source, path), content);
      }
      const outside = await openDigester(memo).of(source);
      const deposit = store.deposit();
      const artifact = await deposit.adoptFolder(source);
      await deposit.settle();
      expect(artifact).toEqual(outside);
      const placed = await store.materialise(artifact, '');
      for (const [path, content] of Object.entries(files)) {
        expect(new Uint8Array(readFileSync(join(placed, path)))).toEqual(content);
        expect(statSync(join(placed, path)).mode & 0o222).toBe(0);
      }
      expect(await store.unsound(artifact)).toEqual([]);
    }),
    { numRuns: 30 },
  );
});

test('files of every size have the sha256 that node:crypto gives', async () => {
  const path = join(folder, 'file');
  for (const size of [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (4 << 20) + 3, (8 << 20) + 5]) {
    const content = Buffer.alloc(size, `${size}.`);
    writeFileSync(path, content);
    expect(await digestFile(path)).toBe(createHash('sha256').update(content).digest('hex'));
  }
});

test('an edit within the tick of the last digest, of the same size, is not missed', async () => {
  const path = join(folder, 'racy');
  const digester = openDigester(openMemo(join(folder, 'memo-racy')));
  for (let i = 0; i < 50; i++) {
    const content = String(i).padStart(4, '0');
    writeFileSync(path, content);
    expect((await digester.of(path)).digest).toBe(createHash('sha256').update(content).digest('hex'));
  }
  // A mark that was taken long after the change is trusted, until the file changes; setting the time back does not help.
  const later = Date.now() + 10_000;
  const mark = markOf(path);
  expect(unchanged(path, mark, later)).toBe(true);
  const { atime, mtime } = statSync(path);
  writeFileSync(path, 'edit');
  utimesSync(path, atime, mtime);
  expect(unchanged(path, mark, later)).toBe(false);
});
