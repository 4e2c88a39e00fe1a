/** The lineage of numbers: a click or Enter on one opens the record that computed it, and from there those that it read. */
import type { PageRecord } from '../lineage.ts';
import { element, records } from './page.ts';

export function showLineage(): void {
  const dialog = document.querySelector<HTMLDialogElement>('#lineage')!;
  const body = document.querySelector('#lineage-body')!;
  if (records().length === 0) return;
  const open = (number: Element): void => {
    const content = lineageOf(number);
    if (content === null) return;
    body.replaceChildren(...content);
    dialog.showModal();
    dialog.scrollTop = 0;
  };
  document.querySelector('main')!.addEventListener('click', ({ target }) => {
    const number = (target as Element).closest('td.number, .n, .node');
    if (number !== null) open(number);
  });
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  for (const table of document.querySelectorAll('table')) walkByKeys(table, open);
  for (const number of document.querySelectorAll<HTMLElement | SVGElement>('.n, .node')) {
    number.setAttribute('role', 'button');
    number.setAttribute('tabindex', '0');
    number.setAttribute('aria-haspopup', 'dialog');
    number.addEventListener('keydown', (event) => openByKey(event as KeyboardEvent, number, open));
  }
}

function openByKey(event: KeyboardEvent, number: Element, open: (number: Element) => void): boolean {
  if (event.key !== 'Enter' && event.key !== ' ') return false;
  event.preventDefault();
  open(number);
  return true;
}

/** One stop for the Tab key in each table; arrows go from number to number. */
function walkByKeys(table: HTMLTableElement, open: (number: Element) => void): void {
  const numbers = [...table.querySelectorAll<HTMLElement>('td.number')];
  if (numbers.length === 0) return;
  table.setAttribute('role', 'grid');
  numbers.forEach((number, i) => {
    number.tabIndex = i === 0 ? 0 : -1;
    number.setAttribute('aria-haspopup', 'dialog');
  });
  table.addEventListener('keydown', (event) => {
    const cell = (event.target as Element).closest<HTMLTableCellElement>('td.number');
    if (cell === null || openByKey(event, cell, open)) return;
    const to = neighbour(cell, event.key);
    if (to === null) return;
    event.preventDefault();
    cell.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  });
}

/** The number that an arrow leads to; null at the edge, and for other keys. */
function neighbour(cell: HTMLTableCellElement, key: string): HTMLElement | null {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[key];
  if (step === undefined) return null;
  const rows = [...cell.closest('tbody')!.rows].filter((row) => !row.hidden);
  let [row, column] = [rows.indexOf(cell.closest('tr')!), cell.cellIndex];
  for (;;) {
    row += step[0]!;
    column += step[1]!;
    const next = rows[row]?.cells[column];
    if (next === undefined) return null;
    if (next.matches('td.number')) return next;
  }
}

/** What the dialog says of a number; null where no record is known. */
function lineageOf(number: Element): readonly Node[] | null {
  const cell = number.closest('td');
  const from = number.closest<HTMLElement>('[data-from]')?.dataset.from?.split(' ').filter(Boolean).map(Number) ?? [];
  const maker = number.closest<HTMLElement>('[data-maker]')?.dataset.maker;
  const main = maker === undefined ? from : [Number(maker)];
  if (main.length === 0) return null;
  const parts: Node[] = [
    element('p', { class: 'what' }, element('b', {}, number.matches('.node') ? '' : shown(number)), ...describe(cell)),
  ];
  parts.push(...main.map((place) => recordCard(records()[place]!, maker === undefined)));
  if (maker !== undefined && from.length > 0) {
    parts.push(element('h3', {}, from.length === 1 ? 'From this record' : `From these ${from.length} records`));
    parts.push(...from.map((place) => recordDetails(place)));
  }
  return parts;
}

function shown(number: Element): string {
  const exact = (number as HTMLElement).dataset.value;
  const text = number.textContent!.trim();
  return exact === undefined || exact === text ? text : `${text}  (${exact})`;
}

/** Table, row and column of a cell. */
function describe(cell: HTMLTableCellElement | null): readonly (Node | string)[] {
  if (cell === null) return [];
  const table = cell.closest('table')!;
  const title = document.getElementById(table.getAttribute('aria-labelledby')!)?.textContent ?? '';
  const column = table.tHead!.rows[0]!.cells[cell.cellIndex]!.textContent!.trim();
  const row = cell.closest('tr')!.cells[0]!.textContent!.trim();
  return [element('span', {}, `${column}, ${row}. ${title}.`)];
}

/** A record in full, with those that it read below it. */
function recordCard(record: PageRecord, withInputs: boolean): HTMLElement {
  const card = element('article', { class: 'record' });
  const lines = definitions(record);
  card.append(element('h3', {}, record.task), lines);
  if (!withInputs) return card;
  for (const [input, places] of Object.entries(record.inputs)) {
    if (places.length === 0) continue;
    card.append(element('h4', {}, places.length === 1 ? input : `${input} (${places.length})`));
    card.append(...places.map((place) => recordDetails(place)));
  }
  return card;
}

/** A record that opens, its content made when it is asked for: behind one there may be hundreds. */
function recordDetails(place: number): HTMLElement {
  const record = records()[place]!;
  const details = element('details', { class: 'record' }, element('summary', {}, record.task)) as HTMLDetailsElement;
  details.addEventListener('toggle', () => {
    if (details.open && details.childElementCount === 1) details.append(recordCard(record, true));
  });
  return details;
}

function definitions(record: PageRecord): HTMLElement {
  const list = element('dl');
  const add = (name: string, value: string): void => {
    list.append(element('dt', {}, name), element('dd', {}, value));
  };
  add('key', record.key.slice(0, 16));
  add('stage', record.uses);
  for (const [name, value] of Object.entries(record.params))
    add(name, typeof value === 'string' ? value : JSON.stringify(value));
  for (const [name, path] of Object.entries(record.sources)) add(name.replace(/^param:/, ''), path);
  for (const [name, value] of Object.entries(record.measurements))
    add(name, typeof value === 'number' ? String(Number(value.toPrecision(4))) : value);
  for (const [name, digest] of Object.entries(record.outputs)) add(`→ ${name}`, digest);
  if (record.code !== null) add('code', record.code);
  add(
    'computed',
    `${record.startedAt.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}, ${record.seconds.toFixed(1)} s, ${record.machine}`,
  );
  add('in the project', `pipe lineage ${record.key.slice(0, 16)}`);
  return list;
}
