/** Prints figures as one Markdown table, padded so that it reads well on a terminal too. */
import { barText, digits, type Figure, meetsBar, ratioOf, type Skipped, sampleText } from './figure.ts';

const header = ['what', 'measured', 'compared with', 'ratio', 'bar', 'met'];

/** @returns lines; a bar that is missed is marked in capitals. */
export function tableOf(figures: readonly (Figure | Skipped)[]): string {
  const rows = [header, ...figures.map(cellsOf)];
  const widths = header.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
  return [line(rows[0]!), rule, ...rows.slice(1).map(line)].join('\n');
}

function cellsOf(figure: Figure | Skipped): string[] {
  if ('skipped' in figure) return [figure.what, `skipped: ${figure.skipped.split('\n')[0]}`, '', '', '', ''];
  const { what, unit, measured, against } = figure;
  const ratio = ratioOf(figure);
  const met = meetsBar(figure);
  return [
    what,
    sampleText(measured, unit),
    against === undefined ? '' : `${against.what}: ${sampleText(against.sample, unit)}`,
    ratio === undefined ? '' : digits(ratio),
    barText(figure),
    met === undefined ? '' : met ? 'yes' : 'MISSED',
  ];
}
