/** Tables read by the names of their columns, for the stages that show and judge them. */
import type { Cell, Column, Table } from '../compare/results.ts';
import { formatCell } from './format.ts';

/** A table's row. Names of columns that the table does not have give null, and `n/a`. */
export interface Row {
  number(name: string): number | null;
  /** The cell as a person is shown it. */
  text(name: string): string;
}

/** The rows of a table by the names of its columns. */
export function rowsOf({ columns, rows }: Pick<Table, 'columns' | 'rows'>): readonly Row[] {
  const places = new Map(columns.map((column, i) => [column.name, i]));
  return rows.map((row) => {
    const cell = (name: string): Cell => row[places.get(name) ?? -1] ?? null;
    return {
      number(name) {
        const value = cell(name);
        return typeof value === 'number' ? value : null;
      },
      text: (name) => formatCell(cell(name), columns[places.get(name) ?? 0] as Column),
    };
  });
}

/** The table of that name if it is there with all of those columns. */
export function tableWith(tables: readonly Table[], name: string, columns: readonly string[]): Table | null {
  const table = tables.find((one) => one.name === name);
  const has = (wanted: string) => table?.columns.some((column) => column.name === wanted) === true;
  return table !== undefined && columns.every(has) ? table : null;
}
