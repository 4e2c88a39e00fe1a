/** How blobs cross a network: as zstd where that makes them smaller. Whoever receives one tells by its first bytes. */
import { closeSync, createReadStream, openSync, readSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { Readable, Transform } from 'node:stream';
import { Encoder } from '@toondepauw/node-zstd';
import { Decompress } from 'fzstd';
import type { Body } from './remote.ts';

/** The first bytes of every zstd frame (RFC 8878, 3.1.1). */
const magic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);

/** A blob is compressed piece by piece, each a frame of its own; frames in a row are one zstd stream. */
const pieceBytes = 1 << 20;
/** What gets smaller by less than this share is sent as it is: weights do, and both ends save the work. */
const worthwhile = 0.9;
const level = 3;

/** Bytes as they are. */
export function bytesBody(content: Uint8Array): Body {
  return { bytes: content.length, open: () => Readable.from([content]) };
}

/** A file as it is. */
export function fileBody(path: string): Body {
  return { bytes: statSync(path).size, open: () => createReadStream(path, { highWaterMark: 1 << 18 }) };
}

/**
 * A file as it is sent: compressed, or as it is if that hardly helps. What itself begins like zstd is compressed in any case, so that
 * what begins so is always to be unpacked.
 * @param spare where the compressed bytes may lie meanwhile.
 */
export async function packedBody(path: string, spare: string): Promise<Body> {
  const { size } = statSync(path);
  const first = beginning(path, Math.min(size, pieceBytes));
  const encoder = new Encoder(level);
  const sample = await encoder.encode(first);
  if (!isPacked(first) && sample.length > first.length * worthwhile) return fileBody(path);
  if (size <= pieceBytes) return bytesBody(sample);
  const [from, to] = await Promise.all([open(path, 'r'), open(spare, 'wx')]);
  try {
    const piece = Buffer.allocUnsafe(pieceBytes);
    for (;;) {
      const { bytesRead } = await from.read(piece, 0, pieceBytes, null);
      if (bytesRead === 0) break;
      await to.write(await encoder.encode(piece.subarray(0, bytesRead)));
    }
  } finally {
    await Promise.all([from.close(), to.close()]);
  }
  return fileBody(spare);
}

function beginning(path: string, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  const file = openSync(path, 'r');
  try {
    readSync(file, buffer, 0, bytes, 0);
  } finally {
    closeSync(file);
  }
  return buffer;
}

function isPacked(content: Buffer): boolean {
  return content.subarray(0, magic.length).equals(magic);
}

/**
 * Unpacks what begins like zstd, and lets through what does not. Ends in an error for a stream that is cut short or damaged,
 * and when more than `limit` bytes come out: a few packed bytes can stand for any number.
 */
export function unpack(limit: number): Transform {
  let held: Buffer | null = Buffer.alloc(0);
  let decoder: Decompress | null = null;
  let bytes = 0;

  const give = (stream: Transform, chunk: Uint8Array) => {
    bytes += chunk.length;
    if (bytes > limit) throw new Error(`it is longer than ${limit} bytes`);
    stream.push(chunk);
  };
  const take = (stream: Transform, chunk: Buffer) => {
    if (decoder !== null) decoder.push(chunk);
    else give(stream, chunk);
  };
  const begin = (stream: Transform, first: Buffer) => {
    held = null;
    if (isPacked(first)) decoder = new Decompress((chunk) => give(stream, chunk));
    if (first.length > 0) take(stream, first);
  };
  /** Errors of the decoder are told as errors of the stream. */
  const tried = (done: (error?: Error) => void, work: () => void) => {
    try {
      work();
    } catch (thrown) {
      done(thrown instanceof Error ? thrown : new Error(String(thrown)));
      return;
    }
    done();
  };

  return new Transform({
    transform(chunk: Buffer, _, done) {
      tried(done, () => {
        if (held === null) return take(this, chunk);
        held = Buffer.concat([held, chunk]);
        if (held.length >= magic.length) begin(this, held);
      });
    },
    flush(done) {
      tried(done, () => {
        if (held !== null) begin(this, held);
        decoder?.push(new Uint8Array(0), true);
      });
    },
  });
}
