/** What QLoRA costs and saves: the time of a step on this machine, and figures that others published beside ours. */
import type { Cell, Table } from '../compare/results.ts';
import { mean } from '../compare/student.ts';
import { number, text } from '../shared/columns.ts';
import type { StepTimes } from '../shared/step_times.ts';
import type { Study } from './inputs.ts';

/** Figures of others; what a study does not publish is left out. */
export interface Published {
  readonly source: string;
  readonly adapters: readonly {
    readonly layer: number;
    readonly cosine: number;
    readonly relative_difference: number;
  }[];
  readonly seconds_a_step: { readonly lora: number; readonly qlora: number };
}

/** Bases as time-steps names them. */
const [lora, qlora] = ['bf16', 'nf4'];

function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Linear between order statistics. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return low + (at - Math.floor(at)) * (high - low);
}

function timesOf({ seconds }: StepTimes) {
  const [base, quantized] = [seconds[lora] ?? [], seconds[qlora] ?? []];
  if (base.length === 0 || quantized.length === 0) return null;
  const ratios = quantized.map((time, round) => time / base[round]!);
  return { base, quantized, ratios };
}

/** QLoRA's step over LoRA's, the median of rounds, mean over configurations; null where nothing was timed. */
export function relativeTime({ times }: Study): number | null {
  const found = times.flatMap(({ times }) => timesOf(times) ?? []);
  return found.length === 0 ? null : mean(found.map(({ ratios }) => median(ratios)));
}

export function stepTimeTable({ times }: Study): Table | null {
  const rows = times.flatMap(({ configuration, times }): Cell[][] => {
    const found = timesOf(times);
    if (found === null) return [];
    const { base, quantized, ratios } = found;
    return [
      [
        configuration,
        1000 * median(base),
        1000 * median(quantized),
        median(ratios),
        quantile(ratios, 0.25),
        quantile(ratios, 0.75),
        base.length,
        times.backend,
        times.machine,
      ],
    ];
  });
  return rows.length === 0
    ? null
    : {
        name: 'step_time',
        title: 'Time of a training step',
        note: 'Median of timed steps, the two bases in turns on one machine; relative: QLoRA over LoRA in the same round, with its quartiles. Forward, backward and optimizer; no reading of data. It holds for the machine and the backend named, and for no other.',
        columns: [
          text('configuration', 'Configuration'),
          number('lora_ms', 'LoRA ms', 1),
          number('qlora_ms', 'QLoRA ms', 1),
          number('relative_speed', 'QLoRA / LoRA', 3),
          number('relative_from', 'from', 3),
          number('relative_to', 'to', 3),
          number('steps', 'Steps', 0),
          text('backend', 'Backend'),
          text('machine', 'Machine'),
        ],
        rows,
      };
}

/** Published figures beside ours at the first, the middle and the last layer. Another model and data: they need not agree. */
export function publishedTable(study: Study, { source, adapters, seconds_a_step }: Published): Table {
  const runs = study.adapters.of(study.names.method);
  const layers = runs[0]!.layers;
  const places = ['first', 'middle', 'last'] as const;
  const at = { first: 0, middle: Math.floor(layers.length / 2), last: layers.length - 1 };
  const ours = (place: (typeof places)[number], of: 'cosine' | 'relative') => {
    const found = runs.map(({ layers }) => layers[at[place]]![of]);
    return found.some((value) => value === null) ? null : mean(found as number[]);
  };
  const found = study.times.flatMap(({ times }) => timesOf(times) ?? []);
  const seconds = (of: 'base' | 'quantized') =>
    found.length === 0 ? null : mean(found.map((times) => median(times[of])));
  const machines = [...new Set(study.times.map(({ times }) => times.machine))];
  const timed = `ours: mean of ${found.length} configurations${machines.length === 0 ? '' : ` on ${machines.join('; ')}`}`;
  return {
    name: 'published_figures',
    title: 'Figures that were published of the same study, beside ours',
    note: `Published: ${source}. Ours is another model, other data or another length of training unless the report's head says the same: the two need not agree.`,
    columns: [
      text('figure', 'Figure'),
      text('where', 'Where'),
      number('published', 'Published', 4),
      number('ours', 'Ours', 4),
    ],
    rows: [
      ...adapters.flatMap(({ cosine, relative_difference, layer }, i): Cell[][] => {
        const place = places[i];
        if (place === undefined) return [];
        const where = `${place} layer (published: ${layer}, ours: ${layers[at[place]]!.layer})`;
        return [
          ['cosine of B A', where, cosine, ours(place, 'cosine')],
          ['relative difference of B A', where, relative_difference, ours(place, 'relative')],
        ];
      }),
      ['seconds a step, LoRA', timed, seconds_a_step.lora, seconds('base')],
      ['seconds a step, QLoRA', timed, seconds_a_step.qlora, seconds('quantized')],
      ['time of a step, QLoRA / LoRA', timed, seconds_a_step.qlora / seconds_a_step.lora, relativeTime(study)],
    ],
  };
}
