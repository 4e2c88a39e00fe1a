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

function describeJsonError(text: string, message: string): string {
  const position = brokenAt(text);
  const before = text.slice(0, position);
  const lines = before.split('\n');
  const place = `line ${lines.length}, column ${lines.at(-1)!.length + 1} (byte ${Buffer.byteLength(before)})`;
  return position === text.length
    ? `the JSON is cut off at ${place}: the file is incomplete, fetch or write it again`
    : `not valid JSON at ${place}: ${message.replace(/(?:, (?:\.\.\.)?"| in JSON at position).*$/s, '')}`;
}

/** Where a text stops being JSON, found by halving, since V8 does not name the place of every error. */
function brokenAt(text: string): number {
  let good = 0;
  let bad = text.length + 1;
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    if (mayGoOn(text.slice(0, middle))) good = middle;
    else bad = middle;
  }
  return good;
}

/** Whether a text is JSON, or is wrong only in that it ends too early. */
function mayGoOn(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const { message } = error as Error;
    const position = /at position (\d+)/.exec(message)?.[1];
    return /^Unexpected end|^Unterminated/.test(message) || (position !== undefined && Number(position) >= text.length);
  }
}
