/** A task's log: kept in the store or beside the run, cut in the middle when it is huge; and its last lines. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';

const halfBytes = 8 << 20;

/** The content of a log file to keep: all of it, or its first and last 8 MiB with a line between that says what is left out. */
export function readLog(path: string): Buffer {
  // Most commands print nothing.
  if (statSync(path).size === 0) return Buffer.alloc(0);
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    if (size <= 2 * halfBytes) return readRange(file, 0, size);
    const note = `\n[${size - 2 * halfBytes} bytes of output are left out here]\n`;
    return Buffer.concat([
      readRange(file, 0, halfBytes),
      Buffer.from(note),
      readRange(file, size - halfBytes, halfBytes),
    ]);
  } finally {
    closeSync(file);
  }
}

/** The last lines of a log's content. */
export function lastLines(content: Buffer, count: number): string[] {
  const lines = content.subarray(-16_384).toString('utf8').trimEnd().split('\n');
  // The first of them may have lost its beginning.
  if (content.length > 16_384) lines.shift();
  return lines.slice(-count).filter((line) => line !== '');
}

function readRange(file: number, from: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const read = readSync(file, buffer, filled, length - filled, from + filled);
    if (read === 0) break;
    filled += read;
  }
  return buffer.subarray(0, filled);
}
