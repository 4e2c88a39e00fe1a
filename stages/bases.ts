/** Stage: sets bases of different precisions side by side: bytes, error, and held-out loss with and without adapters. */
import { defineStage, StageError } from '../engine/stage.ts';
import { baseLosses } from './bases/figure.ts';
import { type Axis, contrastBases, measureBases } from './bases/measures.ts';
import { basesTable, contrastTable, tunedTable } from './bases/tables.ts';
import { compareConfigurations, readGrid } from './compare/grid.ts';
import { metricsByName } from './compare/inputs.ts';
import type { Comparison } from './compare/results.ts';
import { writeFigures } from './shared/figures_folder.ts';
import { writeFindings } from './shared/findings.ts';
import { resamplingOf, resamplingParams } from './shared/resampling.ts';

export default defineStage({
  description:
    'Sets bases of different precisions side by side: bytes, error, held-out loss without and with adapters.',
  params: {
    axis: { type: 'string', default: 'bits', description: 'The axis that names a base.' },
    reference: { type: 'string', default: '16', description: 'The base that the others are set against.' },
    replicate: { type: 'string', default: 'seed', description: 'The axis that repeats a training.' },
    rows: {
      type: 'array',
      items: { type: 'string' },
      minItems: 1,
      default: ['targets'],
      description: 'The axes that name how adapters were trained.',
    },
    contrasts: {
      type: 'array',
      items: { type: 'array', items: { type: 'string' } },
      default: [],
      description: 'Pairs of bases that are set against each other besides.',
    },
    ...resamplingParams,
  },
  inputs: {
    summaries: { many: true, description: "quantize's summaries." },
    untrained: { many: true, description: "evaluate's metrics of the bases without adapters." },
    tuned: { many: true, optional: true, description: "evaluate's metrics of the bases with adapters." },
  },
  outputs: {
    results: { path: 'results.json', description: 'The tables, and what they cannot show.' },
    tables: { path: 'tables', description: 'Bases, tuned bases and contrasts: CSV and Markdown.' },
    figures: { path: 'figures', description: 'Losses by base: SVG and PNG.' },
  },
  async run(context) {
    const { params, inputs, outputs } = context;
    const axis: Axis = { name: params.axis, reference: params.reference };
    const how = resamplingOf(params);
    const bases = measureBases(inputs, axis, how);
    const contrasts = contrastBases(inputs, params.contrasts.map(readPair), axis, how);
    const comparison: Comparison = {
      axis: params.axis,
      reference: params.reference,
      replicate: params.replicate,
      rows: params.rows,
      metric: metricsByName.loss,
      confidence: how.confidence,
    };
    const runs = readGrid({ metrics: inputs.tuned ?? [], summaries: [], curves: [] }, comparison);
    const configurations = runs.length === 0 ? [] : compareConfigurations(runs, comparison);
    const tables = [
      basesTable(bases, axis, how.confidence),
      configurations.length === 0 ? null : tunedTable(configurations, comparison),
      contrastTable(contrasts, how.confidence),
    ];
    const limits = [
      'One base model, one kind of records. Larger models are known to lose less to few bits.',
      ...(configurations.length === 0
        ? []
        : [
            'Intervals of tuned bases come from seeds and hold for each row alone: among many rows, some miss by chance.',
          ]),
    ];
    writeFindings(outputs, {
      format: 2,
      subject: 'bases',
      verdicts: [],
      tables: tables.filter((table) => table !== null),
      limits,
    });
    await writeFigures(outputs.figures, [baseLosses(bases, configurations, axis)], context);
  },
});

function readPair(pair: readonly string[]): readonly [string, string] {
  const [first, second, ...more] = pair;
  if (first !== undefined && second !== undefined && more.length === 0) return [first, second];
  throw new StageError(`contrasts: ${JSON.stringify(pair)} is not a pair of bases`);
}
