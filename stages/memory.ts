/** Stage: plans the memory of full fine-tuning, LoRA and QLoRA for models of any size, beside formulas and beside runs. */
import { defineStage, type Member, StageError } from '../engine/stage.ts';
import { readConfig } from '../model/checkpoint.ts';
import { families } from '../model/gpt2.ts';
import { namedShapes, type ShapeName, shapeNames } from '../model/shapes.ts';
import { axesText, memoryIn } from './compare/inputs.ts';
import { memoryComparison } from './memory/figure.ts';
import type { Setting } from './memory/methods.ts';
import {
  comparisonTable,
  type PlannedRun,
  type Published,
  planMethods,
  rankTable,
  runsTable,
  type Shape,
} from './memory/tables.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { readFields } from './shared/fields.ts';
import { writeFigures } from './shared/figures_folder.ts';
import { writeFindings } from './shared/findings.ts';
import { plannedTraining, storedIn } from './shared/planned_training.ts';

import { parseTargets } from './shared/targets.ts';

export default defineStage({
  description: 'Plans the peak memory of full fine-tuning, LoRA and QLoRA, beside the formulas and beside runs.',
  params: {
    name: { type: 'string', default: 'base', description: 'What the tables call the model given as input.' },
    shapes: {
      type: 'array',
      items: { type: 'string', enum: shapeNames },
      default: [...shapeNames],
      description: 'Models that are planned besides, by name.',
    },
    targets: { type: 'string', default: 'q+v', description: 'Matrices that get an adapter, as in train.' },
    rank: { type: 'integer', minimum: 1, default: 8, description: 'Rank of the adapters.' },
    ranks: {
      type: 'array',
      items: { type: 'integer', minimum: 1 },
      default: [2, 4, 8, 16],
      description: 'Ranks of the table by rank, which is of the model given as input.',
    },
    batch: { type: 'integer', minimum: 1, default: 4, description: 'Sequences a step.' },
    length: { type: 'integer', minimum: 1, default: 512, description: "Tokens of each; at most the model's context." },
    published: {
      type: 'array',
      items: { type: 'object' },
      default: [],
      description: "Someone's figures by rank, shown beside: rank, lora_mb, qlora_mb.",
    },
    published_source: { type: 'string', default: '', description: 'Whose figures they are.' },
  },
  inputs: {
    model: { description: 'Checkpoint folder of the model; only its sizes are read.' },
    runs: { many: true, optional: true, description: "train's summaries: what runs took." },
  },
  outputs: {
    results: { path: 'results.json', description: 'The tables, and what they leave out.' },
    tables: { path: 'tables', description: 'Memory by model and method, by rank, and of runs: CSV and Markdown.' },
    figures: { path: 'figures', description: 'The comparison as SVG and PNG.' },
  },
  async run(context) {
    const { params, inputs, outputs } = context;
    const base = await refusingBadInput(() => readConfig(inputs.model));
    const setting: Setting = { ...params, targets: parseTargets(params.targets) };
    const own: Shape = { name: params.name, config: base };
    const named = params.shapes.map((name): Shape => ({ name, config: namedShapes[name as ShapeName] }));
    const planned = planMethods(withoutRepeats([own, ...named]), setting);
    const published = params.published.map(readPublished);
    const runs = (inputs.runs ?? []).map(plannedRun);
    const tables = [
      comparisonTable(planned, setting),
      rankTable(own, params.ranks, setting, published, params.published_source),
      runsTable(runs),
    ].filter((table) => table !== null);
    const limits = [
      'What the process and a GPU’s driver take besides a program’s arena is not in these figures.',
      'While it trains, the stage train holds a second program, with a copy of the base, that measures the held-out loss; `pipe advise` counts both.',
    ];
    writeFindings(outputs, { format: 2, subject: 'memory', verdicts: [], tables, limits });
    await writeFigures(outputs.figures, [memoryComparison(planned, setting)], context);
  },
});

/** A model given as input may be one of the named shapes: it is planned once, under the name it was given. */
function withoutRepeats(shapes: readonly Shape[]): Shape[] {
  const sizes = ({ config }: Shape) => JSON.stringify(Object.entries(config).sort());
  return shapes.filter((shape, i) => shapes.findIndex((other) => sizes(other) === sizes(shape)) === i);
}

function readPublished(entry: unknown): Published {
  const { rank, lora_mb, qlora_mb } = Object(entry) as Readonly<Record<string, unknown>>;
  if (typeof rank === 'number' && typeof lora_mb === 'number' && typeof qlora_mb === 'number')
    return { rank, lora: lora_mb, qlora: qlora_mb };
  throw new StageError(`published: ${JSON.stringify(entry)} must have three numbers, rank, lora_mb and qlora_mb`);
}

/** Reads what a run tells of itself and plans the same. @throws StageError when it is not what train writes. */
function plannedRun({ path, axes }: Member): PlannedRun {
  const label = axesText(axes);
  const summary = readFields(path, `the training summary of ${label}`);
  const [base, adapters] = [summary.inside('base'), summary.inside('adapters')];
  const size = (name: string) => base.number(name);
  const planned = plannedTraining({
    config: {
      vocabSize: size('vocabSize'),
      contextLength: size('contextLength'),
      width: size('width'),
      layers: size('layers'),
      heads: size('heads'),
      epsilon: 1e-5,
    },
    matrices: storedIn(base.flag('quantized') ? 'nf4' : 'bf16'),
    targets: families.filter((family) => adapters.texts('targets').includes(family)),
    rank: adapters.number('rank'),
    batch: summary.number('rows'),
    length: summary.number('rowLength'),
  });
  const taken = memoryIn(summary).total + summary.inside('memory').number('paged');
  return { label, planned: planned.total, taken };
}
