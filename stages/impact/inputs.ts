/** What the impact of quantization is judged on: the ladder of controls, ablations, errors, and what lies beside them. */
import { type Member, StageError } from '../../engine/stage.ts';
import { readJson } from '../../model/json.ts';
import { axesText, axisText, readSummary, type Summary } from '../compare/inputs.ts';
import type { AdapterComparison } from '../compare-adapters/comparison.ts';
import type { FamilyError } from '../quantization-error.ts';
import { type Evaluation, readEvaluation, requireSameExamples } from '../shared/evaluation.ts';
import { readFields, reading } from '../shared/fields.ts';
import { readSeedGrid, readSeedGrids, requireSeeds, type SeedGrid } from '../shared/seed_grid.ts';
import type { StepTimes } from '../shared/step_times.ts';

/** The axes and values that name the parts of the ladder. */
export interface Names {
  readonly control: string;
  readonly seed: string;
  /** The run that all others are set against, the quantized one, and the control that is another seed. */
  readonly reference: string;
  readonly method: string;
  readonly otherSeed: string;
  readonly repeat: string;
}

/** quantization-error's file. */
export interface Errors {
  readonly errorOfModel: number;
  readonly families: readonly FamilyError[];
}

export interface Similarity {
  readonly names: readonly string[];
  readonly cosines: readonly (readonly (number | null)[])[];
}

/** LoRA and QLoRA over another axis: how alike they are, and what each says beside LoRA of the same seed. */
export interface Grid {
  readonly axis: 'rank' | 'targets';
  readonly adapters: SeedGrid<AdapterComparison>;
  readonly lora: SeedGrid<Evaluation>;
  readonly qlora: SeedGrid<Evaluation>;
}

export interface Study {
  readonly names: Names;
  readonly seeds: readonly string[];
  /** B A of each control beside the reference. */
  readonly adapters: SeedGrid<AdapterComparison>;
  readonly evaluations: SeedGrid<Evaluation>;
  readonly ablations: SeedGrid<Evaluation>;
  readonly errors: SeedGrid<Errors>;
  readonly summaries: SeedGrid<Summary>;
  readonly grids: readonly Grid[];
  readonly times: readonly { readonly configuration: string; readonly times: StepTimes }[];
  readonly similarity: Similarity | null;
}

interface Inputs {
  readonly adapters: readonly Member[];
  readonly evaluations: readonly Member[];
  readonly ablations: readonly Member[];
  readonly errors: readonly Member[];
  readonly summaries: readonly Member[];
  readonly by_rank: readonly Member[] | undefined;
  readonly by_targets: readonly Member[] | undefined;
  readonly metrics_by_rank: readonly Member[] | undefined;
  readonly metrics_by_targets: readonly Member[] | undefined;
  readonly times: readonly Member[] | undefined;
  readonly similarity: string | undefined;
}

/** Reads all of it. @throws StageError for files of other stages, missing seeds, and examples that are not the same. */
export function readStudy(inputs: Inputs, names: Names): Study {
  const ladder = { value: names.control, seed: names.seed };
  const evaluations = readSeedGrid(inputs.evaluations, ladder, 'evaluations', readEvaluation);
  const ablations = readSeedGrid(
    inputs.ablations,
    { value: 'ablation', seed: names.seed },
    'ablations',
    readEvaluation,
  );
  requireSameExamples(
    [evaluations, ablations].flatMap((grid) => grid.values.flatMap((one) => grid.of(one))),
    'evaluations',
  );
  const adapters = readSeedGrid(inputs.adapters, ladder, 'adapters', readAdapters);
  const errors = readSeedGrid(inputs.errors, ladder, 'errors', readErrors);
  const summaries = readSeedGrid(inputs.summaries, ladder, 'summaries', readSummary);
  const { seeds } = evaluations;
  for (const [what, grid] of Object.entries({ adapters, ablations, errors, summaries }))
    requireSeeds(grid, seeds, `"${what}"`);
  const gridOf = (
    axis: Grid['axis'],
    alike: readonly Member[] | undefined,
    said: readonly Member[] | undefined,
  ): Grid[] => {
    if (alike === undefined || said === undefined) return [];
    const metrics = readSeedGrids(
      said,
      { group: 'precision', value: axis, seed: names.seed },
      `metrics_by_${axis}`,
      readEvaluation,
    );
    const ofAdapters = readSeedGrid(alike, { value: axis, seed: names.seed }, `by_${axis}`, readAdapters);
    const [lora, qlora] = [metrics('bf16'), metrics('nf4')];
    requireSeeds(ofAdapters, lora.seeds, `"by_${axis}"`);
    return [{ axis, adapters: ofAdapters, lora, qlora }];
  };
  return {
    names,
    seeds,
    adapters,
    evaluations,
    ablations,
    errors,
    summaries,
    grids: [
      ...gridOf('rank', inputs.by_rank, inputs.metrics_by_rank),
      ...gridOf('targets', inputs.by_targets, inputs.metrics_by_targets),
    ],
    times: (inputs.times ?? []).map(({ path, axes }) => ({
      configuration: Object.entries(axes)
        .map(([axis, value]) => (axis === 'targets' ? axisText(value) : `${axis} ${axisText(value)}`))
        .join(', '),
      times: readWritten<StepTimes>(path, axesText(axes), 'seconds', 'step-times'),
    })),
    similarity:
      inputs.similarity === undefined
        ? null
        : readWritten<Similarity>(inputs.similarity, 'the likeness of adapters', 'cosines', 'similarity'),
  };
}

function readAdapters(path: string, whose: string): AdapterComparison {
  return readWritten(path, whose, 'whole', 'compare-adapters');
}

function readErrors(path: string, whose: string): Errors {
  return readWritten(path, whose, 'errorOfModel', 'quantization-error');
}

/** Reads what a stage of this project wrote as JSON, known by one of its fields. */
function readWritten<T>(path: string, whose: string, field: string, stage: string): T {
  if (readFields(path, whose).has(field)) return reading(whose, () => readJson(path)) as T;
  throw new StageError(`${path} (${whose}) is not what ${stage} writes: there is no "${field}" in it`);
}
