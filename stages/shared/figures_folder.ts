/** A folder of figures: each as SVG, PNG and Vega specification, and figures.json, which says what they show. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeJson } from '../../model/json.ts';
import type { Figure, FigureEntry } from '../plot/figure.ts';
import { openRenderer } from '../plot/render.ts';

/** What of a stage's context drawing needs. */
interface Host {
  log(line: string): void;
  progress(done: number, total: number): void;
}

/** Draws NAME.svg, NAME.png and NAME.vega.json of each figure, in the project's font. */
export async function writeFigures(folder: string, figures: readonly Figure[], { log, progress }: Host): Promise<void> {
  const draw = openRenderer(fileURLToPath(new URL('../../assets/fonts/Inter-Regular.ttf', import.meta.url)));
  mkdirSync(folder, { recursive: true });
  const entries: FigureEntry[] = [];
  for (const figure of figures) {
    progress(entries.length, figures.length);
    const { svg, vega, png, width, height } = await draw(figure);
    writeFileSync(join(folder, `${figure.name}.svg`), svg);
    writeFileSync(join(folder, `${figure.name}.png`), png);
    writeFileSync(join(folder, `${figure.name}.vega.json`), vega);
    const { name, title, alt } = figure;
    entries.push({ name, title, alt, width, height });
    log(`${name}: ${width} x ${height}`);
  }
  writeJson(join(folder, 'figures.json'), entries);
}
