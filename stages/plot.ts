/** Stage: draws the figures of a comparison as SVG and PNG. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineStage } from '../engine/stage.ts';
import { writeJson } from '../model/json.ts';
import { performanceDrop } from './plot/drop.ts';
import type { FigureEntry } from './plot/figure.ts';
import { sensitivityHeatmap } from './plot/heatmap.ts';
import { lossCurves } from './plot/loss_curves.ts';
import { peakMemory } from './plot/memory.ts';
import { openRenderer } from './plot/render.ts';
import { readResults } from './shared/results.ts';

export default defineStage({
  description: 'Draws the figures of a comparison as SVG and PNG.',
  params: {},
  inputs: { results: { description: "compare's results." } },
  outputs: {
    figures: {
      path: 'figures',
      description: 'NAME.svg and NAME.png of each figure, and figures.json: what they show.',
    },
  },
  async run({ inputs, outputs, log, progress }) {
    const results = readResults(inputs.results);
    const figures = [sensitivityHeatmap, performanceDrop, lossCurves, peakMemory]
      .map((figureOf) => figureOf(results))
      .filter((figure) => figure !== null);
    const draw = openRenderer(fileURLToPath(new URL('../assets/fonts/Inter-Regular.ttf', import.meta.url)));
    mkdirSync(outputs.figures, { recursive: true });
    const entries: FigureEntry[] = [];
    for (const figure of figures) {
      progress(entries.length, figures.length);
      const { svg, png, width, height } = await draw(figure);
      writeFileSync(join(outputs.figures, `${figure.name}.svg`), svg);
      writeFileSync(join(outputs.figures, `${figure.name}.png`), png);
      const { name, title, alt } = figure;
      entries.push({ name, title, alt, width, height });
      log(`${name}: ${width} x ${height}`);
    }
    writeJson(join(outputs.figures, 'figures.json'), entries);
  },
});
