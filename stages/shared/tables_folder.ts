/** A folder of tables: each as CSV for machines, with every digit, and as Markdown for people. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Table } from '../compare/results.ts';
import { toCsv } from '../compare/tables.ts';
import { toMarkdown } from './markdown.ts';

/** Writes NAME.csv and NAME.md of each table. */
export function writeTables(folder: string, tables: readonly Table[]): void {
  mkdirSync(folder, { recursive: true });
  for (const table of tables) {
    writeFileSync(join(folder, `${table.name}.csv`), toCsv(table));
    writeFileSync(join(folder, `${table.name}.md`), toMarkdown(table));
  }
}
