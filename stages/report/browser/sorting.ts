/** Tables that sort: a click on a column's head, ascending, then descending, then as it was. */
import { element } from './page.ts';

const next = { none: 'ascending', ascending: 'descending', descending: 'none' } as const;
type Order = keyof typeof next;

export function sortTables(): void {
  for (const table of document.querySelectorAll<HTMLTableElement>('table')) {
    const rows = [...table.tBodies[0]!.rows];
    const heads = [...table.tHead!.rows[0]!.cells];
    heads.forEach((head, column) => {
      const button = element('button', { type: 'button', class: 'sort' }, ...head.childNodes);
      head.append(button);
      head.setAttribute('aria-sort', 'none');
      button.addEventListener('click', () => {
        const order = next[head.getAttribute('aria-sort') as Order];
        for (const other of heads) other.setAttribute('aria-sort', 'none');
        head.setAttribute('aria-sort', order);
        table.tBodies[0]!.append(...sorted(rows, column, order));
      });
    });
  }
}

function sorted(rows: readonly HTMLTableRowElement[], column: number, order: Order): readonly HTMLTableRowElement[] {
  if (order === 'none') return rows;
  const sign = order === 'ascending' ? 1 : -1;
  return rows.toSorted((a, b) => {
    const [left, right] = [a.cells[column]!, b.cells[column]!];
    const [x, y] = [left.dataset.value, right.dataset.value];
    // What has no value comes last in either direction.
    if (x === undefined || y === undefined) {
      if (x !== y) return x === undefined ? 1 : -1;
      return sign * left.textContent!.localeCompare(right.textContent!, 'en', { numeric: true });
    }
    return sign * (Number(x) - Number(y));
  });
}
