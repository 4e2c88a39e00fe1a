/** JSON files: read with errors that say where the text stops being JSON, written so that equal values give equal bytes. */
import { writeFileSync } from 'node:fs';
import { FormatError } from './format_error.ts';
import { readText } from './utf8.ts';

/** Reads and parses a JSON file. @throws FormatError as readText and parseJson. */
export function readJson(path: string): unknown {
  return parseJson(readText(path), path);
}

/** Writes indented JSON with a newline at its end. */
export function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
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
