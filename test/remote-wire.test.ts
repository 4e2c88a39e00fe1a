/** Blobs on the wire: what goes out comes in, whatever it is and however it is cut; what is damaged is told. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { packedBody, unpack } from '../engine/remote/wire.ts';

const folder = mkdtempSync(join(tmpdir(), 'pipe-wire-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

async function packed(content: Uint8Array): Promise<Buffer> {
  files += 1;
  const path = join(folder, String(files));
  writeFileSync(path, content);
  const body = await packedBody(path, `${path}.zst`);
  const sent = await buffer(body.open());
  expect(sent.length).toBe(body.bytes);
  expect((await buffer(body.open())).equals(sent), 'a second attempt').toBe(true);
  return sent;
}

const unpacked = (pieces: readonly Uint8Array[], limit = 1 << 26) =>
  buffer(Readable.from(pieces.filter(({ length }) => length > 0)).compose(unpack(limit)));

function cut(content: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    pieces.push(content.subarray(at, at + size));
    at += size;
  }
  return [...pieces, content.subarray(at)];
}

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 3000 }),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 500 }))
    .map(([piece, times]) => Buffer.concat(Array.from({ length: times }, () => piece))),
  fc.uint8Array({ maxLength: 50 }).map((rest) => Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), rest])),
);

test('any bytes come back, in whatever pieces they arrive', async () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(bytes, sizes, async (content, pieces) => {
      const sent = await packed(content);
      expect(Buffer.compare(await unpacked(cut(sent, pieces)), content)).toBe(0);
    }),
    { numRuns: 150 },
  );
});

test('a blob of many frames comes back, and is a stream that the zstd program reads', async (context) => {
  const content = Buffer.from(Array.from({ length: 400_000 }, (_, i) => `line ${i * i}\n`).join(''));
  const sent = await packed(content);
  expect(sent.length).toBeLessThan(content.length / 2);
  expect(Buffer.compare(await unpacked([sent]), content)).toBe(0);
  let decoded: Buffer;
  try {
    decoded = execFileSync('zstd', ['-d', '-c'], { input: sent, maxBuffer: 1 << 26 });
  } catch (thrown) {
    context.skip((thrown as NodeJS.ErrnoException).code === 'ENOENT', 'there is no zstd program here to compare with');
    throw thrown;
  }
  expect(Buffer.compare(decoded, content)).toBe(0);
});

test('what does not get smaller is sent as it is', async () => {
  const content = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919 * 31 + ((i * i) >> 3) * 101) % 251));
  const noise = Buffer.concat(Array.from({ length: 100 }, () => crypto.getRandomValues(Buffer.alloc(1000))));
  expect(Buffer.compare(await packed(noise), noise)).toBe(0);
  expect((await packed(content)).length).toBeLessThanOrEqual(content.length);
});

test('a stream that is cut anywhere, or larger than it may be, never gives the content', async () => {
  const content = Buffer.from(Array.from({ length: 300 }, (_, i) => `${i % 17} and ${i}; `).join(''));
  const sent = await packed(content);
  for (let length = 4; length < sent.length; length++) {
    const got = await unpacked([sent.subarray(0, length)]).catch(() => null);
    expect(got === null || !got.equals(content), `cut at ${length}`).toBe(true);
  }
  await expect(unpacked([sent], content.length - 1)).rejects.toThrow('longer than');
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (rest) => {
      // Any bytes behind the magic number: an error or some bytes, no crash, never more than the limit.
      const got = await unpacked([sent.subarray(0, 4), rest], 10_000).catch(() => Buffer.alloc(0));
      expect(got.length).toBeLessThanOrEqual(10_000);
    }),
    { numRuns: 200 },
  );
});
