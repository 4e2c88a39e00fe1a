/** What the page can do with a script: figures under the pointer, sorted tables, the filtered grid, and the lineage of numbers. */
import { enliven } from './figures.ts';
import { filterGrid } from './grid.ts';
import { showLineage } from './lineage.ts';
import { sortTables } from './sorting.ts';

document.documentElement.classList.add('scripted');
sortTables();
showLineage();
const figures = enliven();
filterGrid(figures);

// Paper shows what a click would.
addEventListener('beforeprint', () => {
  for (const details of document.querySelectorAll('details')) details.open = true;
});
