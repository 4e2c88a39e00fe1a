/** Stage: draws the figures of a study as SVG and PNG. */
import { defineStage } from '../engine/stage.ts';
import { adaptersByLayer } from './plot/adapters_by_layer.ts';
import { performanceDrop } from './plot/drop.ts';
import { gapRatios } from './plot/gap_ratios.ts';
import { sensitivityHeatmap } from './plot/heatmap.ts';
import { controlLadder } from './plot/ladder.ts';
import { lossCurves } from './plot/loss_curves.ts';
import { matchByMargin } from './plot/margins.ts';
import { peakMemory } from './plot/memory.ts';
import { memoryByRank } from './plot/memory_by_rank.ts';
import { rankThreshold } from './plot/rank_threshold.ts';
import { weightSimilarity } from './plot/similarity.ts';
import { stepTime } from './plot/step_time.ts';
import { writeFigures } from './shared/figures_folder.ts';
import { readStudy } from './shared/study.ts';

/** Figures of a comparison, and figures of any study that has the tables for them. */
const compared = [sensitivityHeatmap, performanceDrop, lossCurves, peakMemory] as const;
const tabled = [
  controlLadder,
  gapRatios,
  matchByMargin,
  weightSimilarity,
  rankThreshold,
  memoryByRank,
  stepTime,
  adaptersByLayer,
] as const;

export default defineStage({
  description: 'Draws the figures of a study as SVG and PNG.',
  params: {},
  inputs: { results: { description: 'Results of a stage that compares.' } },
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
    const figures = [
      ...(comparison === null ? [] : compared.map((figureOf) => figureOf(comparison))),
      ...tabled.map((figureOf) => figureOf(results)),
    ];
    await writeFigures(
      outputs.figures,
      figures.filter((figure) => figure !== null),
      context,
    );
  },
});
