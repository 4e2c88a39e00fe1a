/** Writing for people: colours where the output is a terminal, times, sizes, and lines that fit. */
import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

/** Prints one line on standard output. */
export function print(line = ''): void {
  process.stdout.write(`${line}\n`);
}

/** Prints a value as JSON on standard output. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

/** Whether a person watches: standard output is a terminal, and no CI says otherwise. */
export function isWatched(): boolean {
  return process.stdout.isTTY === true && !isSet('CI') && process.env.TERM !== 'dumb';
}

/** How many columns a line may have. */
export function columns(): number {
  return process.stdout.isTTY === true ? Math.max(20, process.stdout.columns) : 100;
}

/** @returns the text in a style, or as it is where the output is no terminal or NO_COLOR is set. */
export function paint(style: Style, text: string): string {
  return process.stdout.isTTY === true && !isSet('NO_COLOR') ? styleText(style, text) : text;
}

function isSet(name: string): boolean {
  const value = process.env[name];
  return value !== undefined && value !== '' && value !== 'false' && value !== '0';
}

/** @returns seconds as `0.2 s`, `12 s`, `3 min 20 s` or `2 h 5 min`. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** @returns bytes as `12 B`, `3.4 kB`, `120 MB` or `1.5 GB`. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.5 ? value.toFixed(0) : value.toPrecision(2).replace(/\.0$/, '')} ${units[unit]}`;
}

/** @returns `1 task`, `2 tasks`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** @returns the numbers that are not zero, each with its word: `3 run, 2 up to date`. */
export function tally(parts: readonly (readonly [number: number, word: string])[]): string {
  const shown = parts.filter(([number]) => number > 0);
  return shown.map(([number, word]) => `${number} ${word}`).join(', ');
}

/** @returns the text, cut with `…` in its middle if it is longer than `width`: both ends of a task's id tell something. */
export function shorten(text: string, width: number): string {
  if (text.length <= width) return text;
  const head = Math.ceil((width - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (width - 1 - head))}`;
}

/** @returns the text cut into lines of at most `width` characters at spaces, each after `indent`. */
export function wrap(text: string, width: number, indent: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && indent.length + line.length + 1 + word.length > width) {
      lines.push(indent + line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, indent + line].join('\n');
}
