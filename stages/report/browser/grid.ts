/** The filters of the grid: they pick rows of its table and lines of its curves. */
import type { Figures } from './figures.ts';

/** A point of a curve, as the figure's data holds it. */
type Point = Readonly<Record<string, unknown>>;

export function filterGrid(figures: Figures): void {
  const form = document.querySelector<HTMLFormElement>('#filters');
  const rows = [...document.querySelectorAll<HTMLTableRowElement>('#grid-table tbody tr')];
  if (form === null) return;
  const names = [...new Set([...form.querySelectorAll('input')].map(({ name }) => name))];
  const count = document.querySelector('#grid-count')!;
  let points: readonly Point[] | null = null;

  const apply = (): void => {
    const wanted = new FormData(form);
    const isWanted = (of: (name: string) => unknown) =>
      names.every((name) => wanted.getAll(name).includes(String(of(name))));
    let shown = 0;
    for (const row of rows) {
      row.hidden = !isWanted((name) => row.dataset[name]);
      if (!row.hidden) shown += 1;
    }
    count.textContent = `${shown} of ${rows.length} runs`;
    figures.whenLive('vega-grid_curves', (view) => {
      points ??= [...(view.data('curves') as readonly Point[])];
      void view
        .data(
          'curves',
          points.filter((point) => isWanted((name) => point[name])),
        )
        .runAsync();
    });
  };
  form.addEventListener('change', apply);
  form.addEventListener('submit', (event) => event.preventDefault());
}
