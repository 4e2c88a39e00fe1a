/** Tables of the page: each number knows its value and the records that its row rests on. */
import type { Cell, Column, Table } from '../compare/results.ts';
import { formatCell } from '../shared/format.ts';
import { type Html, html, trusted } from './html.ts';
import { type Contribution, rowSources } from './lineage.ts';

/** More rows than this scroll on a screen, and may be broken between printed pages. */
const longTable = 14;

/** What a table is on the page, besides its content. */
export interface TablePlace {
  /** Unique in the page. */
  readonly id: string;
  /** The record of the stage that wrote it, and what that one took. */
  readonly maker: number | null;
  readonly taken: readonly Contribution[];
}

/** A table in a card, with its title above and its note below. */
export function tableCard(table: Table, { id, maker, taken }: TablePlace): Html {
  const { title, note, columns, rows } = table;
  const long = rows.length > longTable;
  return html`<div class="card${long ? ' long' : ''}"><h4 id="${id}">${title}</h4>
<div class="scroll" role="region" aria-labelledby="${id}" tabindex="0"><table aria-labelledby="${id}"${maker === null ? '' : trusted(` data-maker="${maker}"`)}>
<thead><tr>${columns.map((column) => html`<th scope="col" class="${column.kind}">${column.label}</th>`)}</tr></thead>
<tbody>${rows.map((row) => tableRow(row, columns, rowSources(table, row, taken)))}</tbody>
</table></div>
${
  long
    ? html`<p class="note rows">${String(rows.length)} rows: the table scrolls.</p>
`
    : ''
}<p class="note">${note}</p></div>
`;
}

/** A row; `sources` are the records that its numbers rest on. */
export function tableRow(
  row: readonly Cell[],
  columns: readonly Column[],
  sources: readonly number[],
  more = '',
): Html {
  const isBest = columns.some((column, i) => column.name === 'best' && row[i] !== 'no');
  const cells = row.map((cell, i) => {
    const column = columns[i]!;
    const text = formatCell(cell, column);
    if (i === 0) return html`<th scope="row" class="${column.kind}"${value(cell)}>${text}</th>`;
    return html`<td class="${column.kind}"${value(cell)}>${text}</td>`;
  });
  return html`<tr${isBest ? trusted(' class="best"') : ''} data-from="${sources.join(' ')}"${trusted(more)}>${cells}</tr>
`;
}

/** The value of a number with every digit: what sorts, and what the lineage shows. */
function value(cell: Cell): Html {
  return typeof cell === 'number' ? html` data-value="${String(cell)}"` : html``;
}
