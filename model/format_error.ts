/** The error of every reader in model/: a file that is not what its format says, with the file, the place and the reason. */

/** Thrown for a bad file or folder; the message names the path, what in it is wrong and, where it helps, what to do. */
export class FormatError extends Error {
  override readonly name = 'FormatError';

  /** @param path the file or folder; @param problem what is wrong in it and where. */
  constructor(path: string, problem: string, options?: ErrorOptions) {
    super(`${path}: ${problem}`, options);
  }
}

/**
 * Parses JSON from a file.
 * @throws FormatError with line and column where the text stops being JSON.
 */
export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FormatError(path, describeJsonError(text, (cause as Error).message), { cause });
  }
}

/** V8 names the position of an unexpected token and none for an early end, which is then the end of the text. */
function describeJsonError(text: string, message: string): string {
  const position = /at position (\d+)/.exec(message)?.[1];
  const truncated = /Unexpected end|Unterminated/.test(message);
  const at = position === undefined || truncated ? text.length : Number(position);
  const before = text.slice(0, at).split('\n');
  const place = `line ${before.length}, column ${before.at(-1)!.length + 1} (byte ${Buffer.byteLength(text.slice(0, at))})`;
  return truncated
    ? `the JSON is cut off at ${place}: the file is incomplete, fetch or write it again`
    : `not valid JSON at ${place}: ${message.replace(/,? (?:in JSON )?at position .*$/s, '')}`;
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
  // `good` may end inside the malformed sequence: step back to the byte that starts it.
  let start = bad - 1;
  while (start > 0 && bad - start < 4 && (bytes[start]! & 0xc0) === 0x80 && !decodes(bytes.subarray(0, start))) start--;
  return start;
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
