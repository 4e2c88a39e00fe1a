/** Tables and text in GitHub-flavoured Markdown. */
import type { Table } from '../compare/results.ts';
import { formatCell } from './format.ts';

/** A table as GitHub-flavoured Markdown under its title and above its note, rounded for reading. */
export function toMarkdown(table: Table): string {
  return `## ${escapeMarkdown(table.title)}\n\n${markdownRows(table)}\n\n${escapeMarkdown(table.note)}\n`;
}

/** The rows of a table in Markdown, numbers aligned right. */
export function markdownRows({ columns, rows }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    line(columns.map((column) => escapeMarkdown(column.label))),
    line(columns.map((column) => (column.kind === 'number' ? '---:' : '---'))),
    ...rows.map((row) => line(row.map((cell, i) => escapeMarkdown(formatCell(cell, columns[i]!))))),
  ].join('\n');
}

/** Text that Markdown, and HTML within it, shows as it is. */
export function escapeMarkdown(value: string): string {
  return value
    .replace(/[\\`*_[\]|#]/g, (character) => `\\${character}`)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/\s*\n\s*/g, ' ');
}
