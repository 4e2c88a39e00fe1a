/** Stage: H1, the impact of quantization on what a model learns, against the noise floor of controls; tables and a verdict. */
import { defineStage } from '../engine/stage.ts';
import type { Resampling } from './compare/bootstrap.ts';
import { megabyte } from './compare/tables.ts';
import { type Published, publishedTable, relativeTime, stepTimeTable } from './impact/costs.ts';
import { cosineOf, gapsOf } from './impact/gaps.ts';
import { type Names, readStudy, type Study } from './impact/inputs.ts';
import { reachablePercent, repairOf, repairTable } from './impact/repair.ts';
import { swapsTable } from './impact/swaps.ts';
import {
  ablationsTable,
  gapsTable,
  ladderTable,
  marginsTable,
  similarityTable,
  spectrumTable,
  updatesByLayerTable,
  updatesByTable,
} from './impact/tables.ts';
import { type Evidence, impactVerdict } from './impact/verdict.ts';
import { writeFindings } from './shared/findings.ts';
import { estimateText, formatNumber } from './shared/format.ts';
import { lossDrop } from './shared/loss_drop.ts';
import { resamplingOf, resamplingParams } from './shared/resampling.ts';

export default defineStage({
  description:
    'Judges whether LoRA and QLoRA learn the same, against the noise floor of controls: tables and a verdict.',
  params: {
    control: { type: 'string', default: 'control', description: 'The axis of the controls.' },
    seed_axis: { type: 'string', default: 'seed', description: 'The axis of the seeds.' },
    reference: { type: 'string', default: 'reference', description: 'The control that the others are set against.' },
    method: { type: 'string', default: 'nf4', description: 'The control that is the quantized run.' },
    other_seed: { type: 'string', default: 'both', description: 'The control that is another seed: the noise floor.' },
    floors: {
      type: 'array',
      items: { type: 'string' },
      default: ['order', 'init', 'both'],
      description: 'The controls whose gaps the gap of the method is divided by.',
    },
    repeat: { type: 'string', default: 'repeat', description: 'The control that repeats the reference.' },
    hypothesis: { type: 'string', description: 'What the verdict is on.' },
    threshold: { type: 'number', default: 0.95, description: 'What the cosine of B A must exceed.' },
    tolerance: {
      type: 'number',
      default: 1,
      exclusiveMinimum: 0,
      description: "By how many percent QLoRA's held-out loss may be above LoRA's.",
    },
    ...resamplingParams,
    published: { type: 'object', default: {}, description: 'Figures of others: source, adapters, seconds_a_step.' },
  },
  inputs: {
    adapters: { many: true, description: "compare-adapters' comparisons of each control with the reference." },
    evaluations: {
      many: true,
      description: "evaluate's metrics of each control and the reference, beside the reference.",
    },
    ablations: { many: true, description: "evaluate's metrics over the axis `ablation`, beside the reference." },
    errors: { many: true, description: "quantization-error's errors of the reference's and the method's adapter." },
    summaries: { many: true, description: "train's summaries of each control: peak memory." },
    by_rank: { many: true, optional: true, description: 'Comparisons of QLoRA with LoRA over the axis `rank`.' },
    by_targets: { many: true, optional: true, description: 'Comparisons of QLoRA with LoRA over the axis `targets`.' },
    metrics_by_rank: {
      many: true,
      optional: true,
      description: "evaluate's metrics over rank, precision and seed, beside LoRA; go with `by_rank`.",
    },
    metrics_by_targets: {
      many: true,
      optional: true,
      description: "evaluate's metrics over targets, precision and seed, beside LoRA; go with `by_targets`.",
    },
    times: { many: true, optional: true, description: "step-times' times of any configurations." },
    similarity: { optional: true, description: "similarity's matrix." },
  },
  outputs: {
    results: { path: 'results.json', description: 'Verdict, tables and limits.' },
    tables: { path: 'tables', description: 'Every table as CSV and Markdown.' },
  },
  run({ params, inputs, outputs, log }) {
    const names: Names = {
      control: params.control,
      seed: params.seed_axis,
      reference: params.reference,
      method: params.method,
      otherSeed: params.other_seed,
      repeat: params.repeat,
    };
    const how = resamplingOf(params);
    const study = readStudy(inputs, names);
    const gaps = gapsOf(study, params.floors, how);
    const ratio = gaps.find(
      ({ measure, against }) => measure.name === 'update_cosine' && against === names.otherSeed,
    )?.ratio;
    const impact = {
      cosine: cosineOf(study.adapters.of(names.method), how),
      drop: lossDrop(study.evaluations.of(names.method), study.evaluations.of(names.reference), how),
      saved: 100 * (1 - peakOf(study, names.method) / peakOf(study, names.reference)),
      ratio: ratio ?? null,
    };
    const verdict = impactVerdict(
      impact,
      {
        hypothesis: params.hypothesis,
        threshold: params.threshold,
        tolerance: params.tolerance,
        confidence: how.confidence,
      },
      {
        cosine: cosineOf(study.adapters.of(names.otherSeed), how),
        drop: lossDrop(study.evaluations.of(names.otherSeed), study.evaluations.of(names.reference), how),
      },
      evidenceOf(study, how),
    );
    const published = params.published as unknown as Published | Record<string, never>;
    writeFindings(outputs, {
      format: 2,
      subject: 'quantization-impact',
      verdicts: [verdict],
      tables: [
        ladderTable(study, how),
        gapsTable(gaps, study, how),
        updatesByLayerTable(study),
        ...study.grids.map((grid) => updatesByTable(grid, how)),
        spectrumTable(study),
        ...(study.similarity === null ? [] : [similarityTable(study.similarity)]),
        repairTable(study, how),
        ablationsTable(study, how),
        ...[swapsTable(study, how)].filter((table) => table !== null),
        marginsTable(study),
        ...[stepTimeTable(study)].filter((table) => table !== null),
        ...('source' in published ? [publishedTable(study, published as Published)] : []),
      ],
      limits: limitsOf(study),
    });
    log(`${verdict.outcome}: ${verdict.answer}`);
  },
});

/** What stands beside the numbers of the verdict: the noise floor, the repair, and what QLoRA saves and costs. */
function evidenceOf(study: Study, how: Resampling): Evidence {
  const { adapters, names } = study;
  const [lora, qlora] = [peakOf(study, names.reference), peakOf(study, names.method)];
  const time = relativeTime(study);
  const repair = repairOf(study, how);
  const floors = adapters.values
    .filter((value) => value !== names.method)
    .map((control) => ({
      label: `Cosine of B A, ${control} alone`,
      value: estimateText(cosineOf(adapters.of(control), how), 4),
    }));
  return [
    ...floors,
    {
      label: 'An identical repeat',
      value: repeatsToTheBit(study) ? 'equal to the bit' : 'not equal: see the table "ladder"',
    },
    { label: 'Repair of the quantization error, QLoRA − LoRA', value: estimateText(repair.difference, 4) },
    {
      label: 'Peak memory of a step',
      value: `LoRA ${formatNumber(lora / megabyte, 1)} MB, QLoRA ${formatNumber(qlora / megabyte, 1)} MB (−${formatNumber(100 * (1 - qlora / lora), 1)} %)`,
    },
    ...(time === null ? [] : [{ label: 'Time of a step, QLoRA / LoRA', value: formatNumber(time, 2) }]),
  ];
}

/** Planned peak memory of a step of a control, in bytes. */
function peakOf({ summaries }: Study, control: string): number {
  return Math.max(...summaries.of(control).map(({ memory }) => memory.total));
}

function repeatsToTheBit({ adapters, evaluations, names }: Study): boolean {
  if (!adapters.values.includes(names.repeat)) return false;
  const references = evaluations.of(names.reference);
  return (
    adapters.of(names.repeat).every(({ whole }) => whole.l2 === 0) &&
    evaluations.of(names.repeat).every(({ loss }, s) => loss === references[s]!.loss)
  );
}

function limitsOf(study: Study): readonly string[] {
  const { seeds, evaluations, errors, names, summaries } = study;
  const one = evaluations.of(names.reference)[0]!;
  const { steps } = summaries.of(names.reference)[0]!;
  return [
    `Intervals rest on ${seeds.length} seeds, ${one.examples} held-out examples and one base model: they cover the choice of seeds, layers and examples, not that of the model or the data.`,
    `Adapters were trained for ${steps} steps: a longer training moves them further, and what two runs share of their first A counts for less then.`,
    'The cosine of B A says how alike two updates are, not how alike two models speak: token match, KL and losses beside it say that.',
    `An adapter can take back only the error of the matrices that it sits on: ${formatNumber(reachablePercent(errors.of(names.method)[0]!), 1)} % of the model's squared error here.`,
    ...(repeatsToTheBit(study)
      ? []
      : [
          'A repeat of the same run did not come out equal to the bit: gaps as small as that of the repeat are rounding.',
        ]),
  ];
}
