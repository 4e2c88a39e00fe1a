/** Stage: draws the figures of a comparison as SVG and PNG. */
import { defineStage } from '../engine/stage.ts';
import { performanceDrop } from './plot/drop.ts';
import { sensitivityHeatmap } from './plot/heatmap.ts';
import { lossCurves } from './plot/loss_curves.ts';
import { peakMemory } from './plot/memory.ts';
import { writeFigures } from './shared/figures_folder.ts';
import { readStudy } from './shared/study.ts';

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
  async run(context) {
    const { inputs, outputs } = context;
    const results = readStudy(inputs.results);
    const { comparison } = results;
    const compared = [sensitivityHeatmap, performanceDrop, lossCurves, peakMemory];
    const figures = comparison === null ? [] : compared.map((figureOf) => figureOf(comparison));
    await writeFigures(
      outputs.figures,
      figures.filter((figure) => figure !== null),
      context,
    );
  },
});
