/** Stage: compares the metrics of many tasks: tables, and a verdict by a rule that the pipeline states. */
import { defineStage, type Member, StageError } from '../engine/stage.ts';
import { writeJson } from '../model/json.ts';
import { summariseCurves } from './compare/curves.ts';
import { compareConfigurations, noiseFloor, readGrid } from './compare/grid.ts';
import { metricsByName } from './compare/inputs.ts';
import { limitsOf } from './compare/limits.ts';
import type { Comparison, NoiseFloor, Results, Sensitivity, Table, Verdict } from './compare/results.ts';
import {
  baselineOf,
  type FamilyAxes,
  type IncreaseTable,
  measureSensitivity,
  readIncreases,
} from './compare/sensitivity.ts';
import {
  familyTable,
  layerTable,
  performanceTable,
  qualityTable,
  runsTable,
  withoutEmptyColumns,
} from './compare/tables.ts';
import { contrastFamilies, increasePerMillion, plainIncrease, type Rule, verdictOn } from './compare/verdict.ts';
import { resamplingParams } from './shared/resampling.ts';
import { writeTables } from './shared/tables_folder.ts';

export default defineStage({
  description: 'Compares the metrics of many tasks: tables with intervals, and a verdict by a stated rule.',
  params: {
    comparison: { type: 'string', default: 'precision', description: 'The axis that is compared.' },
    reference: {
      type: 'string',
      default: 'bf16',
      description: 'The value of that axis that the others are set against.',
    },
    replicate: {
      type: 'string',
      default: 'seed',
      description: 'The axis that repeats a configuration: runs are paired by it, and it gives the spread.',
    },
    rows: {
      type: 'array',
      items: { type: 'string' },
      minItems: 1,
      default: ['targets'],
      description: 'The axes that name a configuration: a table row each.',
    },
    metric: {
      type: 'string',
      enum: ['loss', 'perplexity', 'top1Agreement', 'kl', 'greedyMatch', 'embeddingCosine'],
      default: 'loss',
      description: 'The metric whose drop is compared.',
    },
    family_axis: { type: 'string', default: 'family', description: 'In `families`, the axis of the family quantized.' },
    layer_axis: { type: 'string', default: 'layers', description: 'In `families`, the axis of the layers quantized.' },
    whole: { type: 'string', default: 'all', description: 'The value of the layer axis that means every layer.' },
    hypothesis: {
      type: 'string',
      default: 'Weight matrices are not equally sensitive to quantization.',
      description: 'What the verdict is on.',
    },
    ratio: {
      type: 'number',
      default: 2,
      minimum: 1,
      description: 'Supported asks that the largest increase be this many times the smallest.',
    },
    ...resamplingParams,
  },
  inputs: {
    metrics: {
      many: true,
      optional: true,
      description: "evaluate's metrics of trained models, over the compared axes.",
    },
    summaries: { many: true, optional: true, description: "train's summaries, over the same axes: peak memory." },
    curves: { many: true, optional: true, description: "train's loss curves, over the same axes." },
    families: {
      many: true,
      optional: true,
      description: "evaluate's metrics of models with one family quantized, over the family and layer axes.",
    },
    unquantized: { optional: true, description: "evaluate's metrics of the unquantized model; goes with `families`." },
    counts: {
      many: true,
      optional: true,
      description: 'JSON with `quantizedWeights` for each member of `families`: increases per million weights.',
    },
  },
  outputs: {
    results: { path: 'results.json', description: 'All that plot and report read.' },
    tables: { path: 'tables', description: 'Every table as CSV and Markdown.' },
  },
  run({ params, inputs, outputs, log }) {
    const comparison: Comparison = {
      axis: params.comparison,
      reference: params.reference,
      replicate: params.replicate,
      rows: params.rows,
      metric: metricsByName[params.metric],
      confidence: 1 - params.alpha,
    };
    const rule: Rule = { ...params, confidence: comparison.confidence };
    const axes: FamilyAxes = { family: params.family_axis, layer: params.layer_axis, whole: params.whole };
    if (inputs.metrics === undefined && inputs.families === undefined) {
      throw new StageError('nothing to compare: give `metrics`, or `families` with `unquantized`, or both.');
    }

    const grid = { metrics: inputs.metrics ?? [], summaries: inputs.summaries ?? [], curves: inputs.curves ?? [] };
    const runs = readGrid(grid, comparison);
    const configurations = runs.length === 0 ? [] : compareConfigurations(runs, comparison);
    const noise = noiseFloor(runs, comparison);
    const increases = increasesOf(inputs, axes);
    const sensitivity = increases === null ? null : measureSensitivity(increases, axes, rule);

    const results: Results = {
      format: 1,
      comparison,
      verdicts: increases === null ? [] : verdictsOn(increases, axes.whole, rule, noise),
      configurations,
      noise,
      sensitivity,
      curves: summariseCurves(runs),
      tables: [
        ...(runs.length === 0 ? [] : [performanceTable(configurations, comparison)]),
        ...sensitivityTables(sensitivity, comparison.confidence),
        ...(runs.length === 0 ? [] : [qualityTable(runs, comparison), runsTable(runs, comparison)]),
      ].map(withoutEmptyColumns),
      limits: limitsOf(comparison, configurations, noise, sensitivity),
    };
    writeJson(outputs.results, results);
    writeTables(outputs.tables, results.tables);
    for (const { outcome, hypothesis, answer } of results.verdicts) log(`${outcome}: ${hypothesis} ${answer}`);
  },
});

function increasesOf(
  inputs: {
    readonly families: Member[] | undefined;
    readonly unquantized: string | undefined;
    readonly counts: Member[] | undefined;
  },
  axes: FamilyAxes,
): IncreaseTable | null {
  const { families, unquantized, counts } = inputs;
  if (families === undefined) return null;
  if (unquantized === undefined) {
    throw new StageError('`families` needs `unquantized`: the metrics of the model that nothing was quantized in.');
  }
  return readIncreases({ members: families, unquantized, counts: counts ?? [] }, axes);
}

/** The verdict on the plain increases and, where counts are known, on those per million weights. */
function verdictsOn(table: IncreaseTable, whole: string, rule: Rule, noise: NoiseFloor | null): readonly Verdict[] {
  const { increases, exampleWeight } = table;
  const families = increases.filter((one) => one.layer === whole);
  if (families.length < 2) {
    throw new StageError(
      `the verdict compares families quantized in every layer, and "families" has ${families.length} with the layer value "${whole}". Evaluate at least two, or name that value in \`whole\`.`,
    );
  }
  const measures = families.every((one) => one.weights !== null)
    ? [plainIncrease, increasePerMillion]
    : [plainIncrease];
  return measures.map((measure) =>
    verdictOn(contrastFamilies(families, exampleWeight, measure, rule), measure, rule, {
      baseline: baselineOf(table),
      noise,
    }),
  );
}

function sensitivityTables(sensitivity: Sensitivity | null, confidence: number): readonly Table[] {
  if (sensitivity === null) return [];
  return [familyTable(sensitivity, confidence), layerTable(sensitivity, confidence)].filter((table) => table !== null);
}
