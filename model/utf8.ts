/** Strict UTF-8: text out of bytes, or the place of the first byte that is not text. */
import { readFileSync } from 'node:fs';
import { FormatError } from './format_error.ts';

/** Reads a text file. @throws FormatError when there is none, or as decodeUtf8. */
export function readText(path: string): string {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new FormatError(path, `cannot be read: ${(cause as Error).message}`, { cause });
  }
  return decodeUtf8(bytes, path);
}

/**
 * Decodes UTF-8 strictly (a byte order mark at the start is dropped).
 * @throws FormatError with the offset of the first byte that is not part of UTF-8 text.
 */
export function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    const offset = firstInvalidUtf8(bytes);
    const line = countLines(bytes, offset);
    const byte = bytes[offset]?.toString(16).padStart(2, '0') ?? 'end of file';
    throw new FormatError(
      path,
      `not UTF-8 text: byte ${offset} (line ${line}) is 0x${byte}; convert the file to UTF-8, for example with iconv`,
      { cause },
    );
  }
}

/** Offset of the first byte of the first malformed sequence: the longest prefix that decodes, found by halving. */
function firstInvalidUtf8(bytes: Uint8Array): number {
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    // `stream` accepts a prefix that ends inside a sequence.
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, middle), { stream: true });
      good = middle;
    } catch {
      bad = middle;
    }
  }
  // The prefix may end inside the malformed sequence: step back to where that starts.
  while (!decodes(bytes.subarray(0, good))) good--;
  return good;
}

function decodes(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

function countLines(bytes: Uint8Array, end: number): number {
  let lines = 1;
  for (let i = 0; i < end; i++) if (bytes[i] === 10) lines++;
  return lines;
}
