/** The tables of the impact of quantization on what runs learn and say. */
import type { Resampling } from '../compare/bootstrap.ts';
import type { Cell, Table } from '../compare/results.ts';
import { mean } from '../compare/student.ts';
import type { AdapterComparison } from '../compare-adapters/comparison.ts';
import { estimateCells, estimateColumns, number, text } from '../shared/columns.ts';
import type { Evaluation } from '../shared/evaluation.ts';
import { formatNumber } from '../shared/format.ts';
import { lossDrop } from '../shared/loss_drop.ts';
import { cosineOf, type Gap, meanByPrompt } from './gaps.ts';
import type { Grid, Study } from './inputs.ts';

/** What each control changes, for people. */
const changes: Readonly<Record<string, string>> = {
  repeat: 'nothing',
  order: 'the order of the data',
  init: 'the first values of A',
  both: 'the order and A: another seed',
  nf4: 'the base: NF4, double quantization',
  'nf4-single': 'the base: NF4, single quantization',
};

export const intervals = ({ confidence }: Resampling) =>
  `Intervals are at ${formatNumber(100 * confidence, 0)} %: the bootstrap over layers or prompts and Student's t over seeds, in quadrature.`;

const average = (values: readonly (number | null)[]): number | null => {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : mean(known);
};

/** How far each control is from the reference, mean over seeds. */
export function ladderTable(study: Study, how: Resampling): Table {
  const { adapters, evaluations, names, seeds } = study;
  const reference = evaluations.of(names.reference);
  return {
    name: 'ladder',
    title: 'What a change of one thing does to the same LoRA run',
    note: `Each row is set against the 16-bit LoRA run with the same ${names.seed}, mean over ${seeds.length} seeds. Token match: teacher-forced, the share of response tokens at which both models' most likely token is the same; greedy match and first divergence are of generated text (where two models write the same, the first divergence is its length). Cosine, L2, relative difference and norm ratio are of B A times alpha / r, the embedding cosine of mean-centred response states. ${intervals(how)}`,
    columns: [
      text('control', 'Control'),
      text('changed', 'What is changed'),
      ...estimateColumns('cosine', 'Cosine of B A', 4),
      number('l2', 'L2', 4),
      number('relative_difference_percent', 'Relative difference %', 2),
      number('norm_ratio', 'Norm ratio', 4),
      number('token_match', 'Token match', 4),
      number('greedy_match', 'Greedy match', 4),
      number('first_divergence', 'First divergence (token)', 2),
      number('kl', 'KL (nats)', 5),
      number('embedding_cosine', 'Embedding cosine', 4),
      number('loss_change', 'Loss change', 4),
      number('seeds', 'Seeds', 0),
    ],
    rows: adapters.values.map((control): Cell[] => {
      const ba = adapters.of(control);
      const said = evaluations.of(control);
      return [
        control,
        changes[control] ?? control,
        ...estimateCells(cosineOf(ba, how)),
        mean(ba.map(({ whole }) => whole.l2)),
        percentOf(ba),
        ratioOf(ba),
        average(said.map((one) => one.top1Agreement)),
        average(said.map((one) => one.greedyMatch)),
        average(said.map((one) => one.firstDivergence)),
        average(said.map((one) => one.kl)),
        average(said.map((one) => one.embeddingCosine)),
        mean(said.map((one, s) => one.loss - reference[s]!.loss)),
        seeds.length,
      ];
    }),
  };
}

const percentOf = (ba: readonly AdapterComparison[]) =>
  average(ba.map(({ whole }) => (whole.relative === null ? null : 100 * whole.relative)));
const ratioOf = (ba: readonly AdapterComparison[]) =>
  average(ba.map(({ whole }) => (whole.referenceNorm > 0 ? whole.norm / whole.referenceNorm : null)));

/** Gaps of the method in units of those of each control. */
export function gapsTable(gaps: readonly Gap[], study: Study, how: Resampling): Table {
  return {
    name: 'gaps',
    title: 'The gap of quantization in units of the gap between runs that differ in nothing but a draw',
    note: `Ratio: method gap / gap of the control. 1: quantization moves the measure as far as the control does. Gaps of B A are paired by layer and family, the others by prompt, weighted by response tokens. ${intervals(how)}`,
    columns: [
      text('measure', 'Measure'),
      text('against', 'Against'),
      number('method_gap', 'Gap of the method', 5),
      number('seed_gap', 'Gap of the control', 5),
      ...estimateColumns('ratio', 'Ratio', 3),
      text('paired_by', 'Paired by'),
      number('units', 'Units', 0),
      number('seeds', 'Seeds', 0),
    ],
    rows: gaps.map(({ measure, against, method, control, ratio, units }) => [
      measure.label,
      against,
      method,
      control,
      ...estimateCells(ratio),
      measure.unit,
      units,
      study.seeds.length,
    ]),
  };
}

/** B A of every control, layer by layer. */
export function updatesByLayerTable({ adapters, seeds }: Study): Table {
  return {
    name: 'updates_by_layer',
    title: 'B A beside the LoRA run of the same seed, layer by layer',
    note: `Mean over ${seeds.length} seeds. L2 and norms have alpha / r in them. Angles: least and greatest principal angle between the column spaces, in degrees. The row "all" takes the layers as one vector.`,
    columns: [
      text('control', 'Control'),
      text('layer', 'Layer'),
      number('cosine', 'Cosine', 4),
      number('l2', 'L2', 4),
      number('relative_difference_percent', 'Relative difference %', 2),
      number('norm_reference', 'Norm, reference', 4),
      number('norm_ratio', 'Norm ratio', 4),
      number('angle_smallest', 'Angle from', 1),
      number('angle_largest', 'to', 1),
    ],
    rows: adapters.values.flatMap((control) => {
      const runs = adapters.of(control);
      const layers = runs[0]!.layers.map(({ layer }, i) => ({
        label: String(layer),
        found: runs.map(({ layers }) => layers[i]!),
      }));
      const all = runs.map(({ whole, layers }) => ({
        ...whole,
        outputAngles: { least: extreme(Math.min, layers, 'least'), greatest: extreme(Math.max, layers, 'greatest') },
      }));
      return [...layers, { label: 'all', found: all }].map(({ label, found }): Cell[] => [
        control,
        label,
        average(found.map(({ cosine }) => cosine)),
        average(found.map(({ l2 }) => l2)),
        average(found.map(({ relative }) => (relative === null ? null : 100 * relative))),
        average(found.map(({ referenceNorm }) => referenceNorm)),
        average(found.map(({ norm, referenceNorm }) => (referenceNorm > 0 ? norm / referenceNorm : null))),
        average(found.map(({ outputAngles }) => outputAngles?.least ?? null)),
        average(found.map(({ outputAngles }) => outputAngles?.greatest ?? null)),
      ]);
    }),
  };
}

function extreme(
  of: (...values: number[]) => number,
  layers: AdapterComparison['layers'],
  end: 'least' | 'greatest',
): number {
  return of(...layers.flatMap(({ outputAngles }) => (outputAngles === null ? [] : [outputAngles[end]])));
}

/** LoRA against QLoRA, over another axis: how alike they are, and how alike they speak. */
export function updatesByTable({ axis, adapters, lora, qlora }: Grid, how: Resampling): Table {
  return {
    name: `updates_by_${axis}`,
    title: `LoRA and QLoRA with the same seed, by ${axis}`,
    note: `Mean over ${adapters.seeds.length} seeds; cosine, L2, relative difference and norm ratio are of B A, with alpha / r the same everywhere and in every L2. Token match: teacher-forced, with the LoRA run. Drop: QLoRA's held-out loss above LoRA's, in percent. ${intervals(how)}`,
    columns: [
      text(axis, axis === 'rank' ? 'Rank' : 'Targets'),
      ...estimateColumns('cosine', 'Cosine', 4),
      number('l2', 'L2', 4),
      number('relative_difference_percent', 'Relative difference %', 2),
      number('norm_ratio', 'Norm ratio', 4),
      ...estimateColumns('token_match', 'Token match', 4),
      ...estimateColumns('drop', 'Drop %', 2),
      number('seeds', 'Seeds', 0),
    ],
    rows: adapters.values.map((value): Cell[] => {
      const ba = adapters.of(value);
      const said = qlora.of(value);
      return [
        value,
        ...estimateCells(cosineOf(ba, how)),
        mean(ba.map(({ whole }) => whole.l2)),
        percentOf(ba),
        ratioOf(ba),
        ...estimateCells(meanByPrompt(said, ({ agreementPerExample }) => agreementPerExample, how)),
        ...estimateCells(lossDrop(said, lora.of(value), how)),
        adapters.seeds.length,
      ];
    }),
  };
}

/** Singular values of LoRA's and QLoRA's updates, and the angles between their spaces. */
export function spectrumTable({ adapters, names, seeds }: Study): Table {
  const runs = adapters.of(names.method);
  const rows = runs[0]!.families.flatMap(({ layer, family, spectra }, at) => {
    const all = runs.map(({ families }) => families[at]!.spectra);
    return spectra.referenceSingular.map((_, k): Cell[] => {
      const over = (of: (one: typeof spectra) => readonly number[]) => average(all.map((one) => of(one)[k] ?? null));
      return [
        layer,
        family,
        k + 1,
        over((one) => one.referenceSingular),
        over((one) => one.singular),
        over((one) => one.outputAngles),
        over((one) => one.inputAngles),
      ];
    });
  });
  return {
    name: 'spectrum',
    title: 'Singular values of B A, and principal angles between LoRA and QLoRA',
    note: `Mean over ${seeds.length} seeds, in descending order of singular values and ascending order of angles (degrees): output angles between what the updates write, input angles between what they read.`,
    columns: [
      number('layer', 'Layer', 0),
      text('family', 'Family'),
      number('index', 'Index', 0),
      number('singular_lora', 'Singular value, LoRA', 4),
      number('singular_qlora', 'Singular value, QLoRA', 4),
      number('angle_output', 'Output angle', 1),
      number('angle_input', 'Input angle', 1),
    ],
    rows,
  };
}

/** Each run with each: the cosine of B A. */
export function similarityTable({ names, cosines }: NonNullable<Study['similarity']>): Table {
  return {
    name: 'weight_similarity',
    title: 'Cosine of B A between each two runs',
    note: 'All layers as one vector. Runs of one precision differ by their seed alone.',
    columns: [text('run', 'Run'), ...names.map((name) => number(name, name, 3))],
    rows: names.map((name, i) => [name, ...cosines[i]!]),
  };
}

/** Bases and adapters combined as nobody trains them, and the trained runs beside them. */
export function ablationsTable(study: Study, how: Resampling): Table {
  const { evaluations, ablations, names, seeds } = study;
  const reference = evaluations.of(names.reference);
  const rows: readonly { label: string; model: string; adapter: string; runs: readonly Evaluation[] }[] = [
    { label: 'LoRA', model: 'bf16', adapter: 'LoRA', runs: reference },
    { label: 'QLoRA', model: 'nf4', adapter: 'QLoRA', runs: evaluations.of(names.method) },
    ...evaluations.values
      .filter((value) => value === 'nf4-single')
      .map((value) => ({
        label: 'QLoRA, single quantization',
        model: value,
        adapter: 'its own',
        runs: evaluations.of(value),
      })),
    ...ablations.values.map((value) => ({
      ...(ablationWords[value] ?? { label: value, model: value, adapter: value }),
      runs: ablations.of(value),
    })),
  ];
  return {
    name: 'ablations',
    title: 'The base and the adapter, apart',
    note: `Mean over ${seeds.length} seeds; loss change, token match, KL and embedding cosine against the LoRA run of the same seed. QLoRA at step 0 is the quantized base with an adapter that is still zero. ${intervals(how)}`,
    columns: [
      text('ablation', 'Model'),
      text('model', 'Base'),
      text('adapter', 'Adapter'),
      number('loss', 'Held-out loss', 4),
      ...estimateColumns('change', 'Loss change', 4),
      number('token_match', 'Token match', 4),
      number('kl', 'KL (nats)', 5),
      number('embedding_cosine', 'Embedding cosine', 4),
      number('seeds', 'Seeds', 0),
    ],
    rows: rows.map(({ label, model, adapter, runs }): Cell[] => [
      label,
      model,
      adapter,
      mean(runs.map(({ loss }) => loss)),
      ...estimateCells(
        meanByPrompt(
          runs,
          (one, s) => one.lossPerExample.map((loss, i) => loss - reference[s]!.lossPerExample[i]!),
          how,
        ),
      ),
      average(runs.map((one) => one.top1Agreement)),
      average(runs.map((one) => one.kl)),
      average(runs.map((one) => one.embeddingCosine)),
      seeds.length,
    ]),
  };
}

const ablationWords: Readonly<Record<string, { label: string; model: string; adapter: string }>> = {
  base: { label: 'base, not tuned', model: 'bf16', adapter: 'none' },
  'step-0': { label: 'QLoRA at step 0', model: 'nf4', adapter: 'none yet' },
  'lora-on-nf4': { label: "LoRA's adapter on the NF4 base", model: 'nf4', adapter: 'LoRA' },
  'qlora-on-bf16': { label: "QLoRA's adapter on the bf16 base", model: 'bf16', adapter: 'QLoRA' },
};

/** Token match by how sure the reference is. */
export function marginsTable({ evaluations, names, seeds }: Study): Table {
  const controls = evaluations.values.filter((value) => value !== names.reference);
  return {
    name: 'margins',
    title: 'Token match by the margin of the reference',
    note: `Tokens of all ${seeds.length} seeds, by how far the log-probability of the reference's most likely token is above that of its second (nats). A match that is lost only where the margin is small is lost where the reference hardly decides.`,
    columns: [
      text('comparison', 'Control'),
      number('margin_from', 'Margin from', 1),
      text('margin_to', 'to'),
      number('tokens', 'Tokens', 0),
      number('token_match', 'Token match', 4),
    ],
    rows: controls.flatMap((control) => {
      const runs = evaluations.of(control);
      return runs[0]!.agreementByMargin.map(({ from, to }, bin): Cell[] => {
        const sum = (of: 'tokens' | 'agreed') => runs.reduce((all, one) => all + one.agreementByMargin[bin]![of], 0);
        const tokens = sum('tokens');
        return [
          control,
          from,
          to === null ? 'no end' : formatNumber(to, 1),
          tokens,
          tokens === 0 ? null : sum('agreed') / tokens,
        ];
      });
    }),
  };
}
