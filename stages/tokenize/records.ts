/** Reads instruction records: a JSON list, or JSON lines, of { instruction, input, output }. */
import { FormatError } from '../../model/format_error.ts';
import { parseJson } from '../../model/json.ts';
import { readText } from '../../model/utf8.ts';

export interface InstructionRecord {
  readonly instruction: string;
  readonly input: string;
  readonly output: string;
}

/**
 * Reads the records of a file, in order. A record without `input` has an empty one.
 * @throws FormatError for text that is not UTF-8 or not JSON (with the place), an empty file or list, and a record that lacks
 *   a field or has one that is no string (with the record's number, from 1).
 */
export function readRecords(path: string): InstructionRecord[] {
  const text = readText(path);
  const values = text.trimStart().startsWith('[') ? parseList(text, path) : parseLines(text, path);
  if (values.length === 0) throw new FormatError(path, 'there are no records in it');
  return values.map(({ value, place }) => checkRecord(value, place, path));
}

interface Placed {
  readonly value: unknown;
  /** Where the record is, for a person: `record 3`, `record 3 (line 3)`. */
  readonly place: string;
}

function parseList(text: string, path: string): Placed[] {
  return (parseJson(text, path) as unknown[]).map((value, i) => ({ value, place: `record ${i + 1}` }));
}

function parseLines(text: string, path: string): Placed[] {
  return text
    .split('\n')
    .map((line, i) => ({ line, number: i + 1 }))
    .filter(({ line }) => line.trim() !== '')
    .map(({ line, number }, i) => ({
      value: parseJson(line, `${path}: line ${number}`),
      place: `record ${i + 1} (line ${number})`,
    }));
}

function checkRecord(value: unknown, place: string, path: string): InstructionRecord {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FormatError(path, `${place} is not an object with the fields instruction, input and output`);
  }
  const record = value as Record<string, unknown>;
  const field = (name: keyof InstructionRecord): string => {
    const content = record[name];
    if (typeof content === 'string') return content;
    const fields = Object.keys(record).join(', ') || 'none';
    const problem =
      content === undefined ? `lacks the field '${name}' (it has: ${fields})` : `has a '${name}' that is not a string`;
    throw new FormatError(path, `${place} ${problem}`);
  };
  return {
    instruction: field('instruction'),
    input: record.input === undefined ? '' : field('input'),
    output: field('output'),
  };
}
