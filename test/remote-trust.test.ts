/** Records from strangers: what is written as one is read back, and whatever else comes is refused with a reason, never worse. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { checkedJson } from '../engine/checked.ts';
import { manifestKey } from '../engine/manifest.ts';
import type { Manifest, TaskRecord } from '../engine/record.ts';
import { DistrustError, foreignText, readForeignRecord } from '../engine/remote/trust.ts';

const secret = 'a secret of this test';
const digest = fc.stringMatching(/^[0-9a-f]{64}$/);
const name = fc.oneof(
  fc.stringMatching(/^[a-z][a-z0-9_]{0,8}$/),
  fc.constantFrom('constructor', '__proto__', 'toString'),
);

/** A map whose names may be those of an object's own machinery. */
const mapOf = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> =>
  fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key, maxLength: 4 }).map((pairs) => {
    const map: Record<string, T> = {};
    for (const [key, held] of pairs) {
      Object.defineProperty(map, key, { value: held, enumerable: true, configurable: true, writable: true });
    }
    return map;
  });

const path = fc
  .array(fc.stringMatching(/^[\w-]{1,8}$/), { minLength: 1, maxLength: 3 })
  .map((names) => names.join('/'));
const artifact = fc.record({ kind: fc.constantFrom('file' as const, 'folder' as const), digest, bytes: fc.nat() });

const record: fc.Arbitrary<TaskRecord> = fc
  .record({
    params: mapOf(fc.jsonValue() as fc.Arbitrary<never>),
    code: fc.option(digest),
    inputs: mapOf(fc.oneof(digest, fc.array(fc.record({ axes: mapOf(fc.nat()), digest })))),
    outputs: mapOf(path),
    artifact,
    log: digest,
    seconds: fc.double({ min: 0, max: 1e6, noNaN: true }),
    measurements: mapOf(fc.nat()),
    producers: mapOf(digest),
  })
  .map(({ params, code, inputs, outputs, artifact: given, ...rest }) => {
    const manifest: Manifest = { contract: 1, action: { uses: 'stage' }, code, params, env: {}, inputs, outputs };
    const artifacts: Record<string, typeof given> = {};
    for (const key of Object.keys(outputs)) {
      Object.defineProperty(artifacts, key, { value: given, enumerable: true, configurable: true, writable: true });
    }
    const host = { name: 'host', platform: 'linux-x64', cpu: 'a cpu', cores: 2, node: 'v20.20.2' };
    return {
      ...rest,
      key: manifestKey(manifest),
      manifest,
      outputs: artifacts,
      startedAt: '2026-01-31T10:15:30.042Z',
      host,
      run: 'a run',
      task: 'stage[x=1]',
      sources: {},
    };
  });

test('a record is read as it was written, by those who trust it alone', () => {
  fc.assert(
    fc.property(record, (written) => {
      const plain = Buffer.from(foreignText(written, null));
      const signed = Buffer.from(foreignText(written, secret));
      expect(readForeignRecord(plain, written.key, null)).toEqual(JSON.parse(JSON.stringify(written)));
      expect(readForeignRecord(signed, written.key, secret)).toEqual(JSON.parse(JSON.stringify(written)));
      expect(readForeignRecord(signed, written.key, null)).toEqual(JSON.parse(JSON.stringify(written)));
      expect(() => readForeignRecord(plain, written.key, secret)).toThrow('is not signed');
      expect(() => readForeignRecord(signed, written.key, 'another secret of it')).toThrow('is not signed with');
      expect(() => readForeignRecord(plain, 'f'.repeat(64), null)).toThrow('is that of another task');
    }),
  );
});

test('with a flipped bit, or cut anywhere, it is refused', () => {
  fc.assert(
    fc.property(record, fc.nat(), fc.integer({ min: 0, max: 7 }), (written, at, bit) => {
      const content = Buffer.from(foreignText(written, null));
      expect(() => readForeignRecord(content.subarray(0, at % content.length), written.key, null)).toThrow(
        DistrustError,
      );
      content[at % content.length]! ^= 1 << bit;
      expect(() => readForeignRecord(content, written.key, null)).toThrow(DistrustError);
    }),
  );
});

test('whatever a stranger makes of one, whole and with its digest: read, or refused with a reason', () => {
  const strange = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom('../../etc/passwd', '/etc/passwd', '\u001b[2J', '', null, [], {}, -1, 1e300, 'f'.repeat(63)),
  );
  fc.assert(
    fc.property(record, fc.array(fc.tuple(fc.nat(), strange), { minLength: 1, maxLength: 3 }), (written, changes) => {
      const value = JSON.parse(JSON.stringify(written)) as Record<string, unknown>;
      for (const [where, what] of changes) {
        // Any place in it, at any depth.
        const places: [Record<string, unknown>, string][] = [];
        const visit = (node: unknown) => {
          if (typeof node !== 'object' || node === null) return;
          for (const key of Object.keys(node)) {
            places.push([node as Record<string, unknown>, key]);
            visit((node as Record<string, unknown>)[key]);
          }
        };
        visit(value);
        const [node, key] = places[where % places.length]!;
        Object.defineProperty(node, key, { value: what, enumerable: true, configurable: true, writable: true });
      }
      const content = Buffer.from(checkedJson(value));
      let read: TaskRecord;
      try {
        read = readForeignRecord(content, written.key, null);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(DistrustError);
        return;
      }
      expect(manifestKey(read.manifest)).toBe(written.key);
      for (const { digest: held } of Object.values(read.outputs)) expect(held).toMatch(/^[0-9a-f]{64}$/);
      expect(Object.keys(read.outputs).sort()).toEqual(Object.keys(read.manifest.outputs).sort());
      // biome-ignore lint/suspicious/noControlCharactersInRegex: those that steer a terminal are meant.
      expect(read.task + read.run + Object.values(read.sources).join('')).not.toMatch(/[\u0000-\u001f]/);
    }),
    { numRuns: 300 },
  );
});

test.each(['../x', '/x', 'a/../../x', 'C:\\x', '..\\x', 'x\0', '', '.'])('an output at %j is refused', (bad) => {
  fc.assert(
    fc.property(record, (written) => {
      const manifest = { ...written.manifest, outputs: { out: bad } };
      const outputs = { out: { kind: 'file' as const, digest: written.log, bytes: 1 } };
      const key = manifestKey(manifest);
      const content = Buffer.from(foreignText({ ...written, key, manifest, outputs }, null));
      expect(() => readForeignRecord(content, key, null)).toThrow('an output that leaves its folder');
    }),
    { numRuns: 3 },
  );
});
