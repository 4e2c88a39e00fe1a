/** The tables of planned memory: by shape and method beside the formulas, by rank, and beside what runs took. */
import type { Gpt2Config } from '../../model/config.ts';
import { parameterCounts } from '../../model/shapes.ts';
import type { Memory, Table } from '../compare/results.ts';
import { number, text } from '../shared/columns.ts';
import { type Method, methods, type Setting } from './methods.ts';

/** A named model shape. */
export interface Shape {
  readonly name: string;
  readonly config: Gpt2Config;
}

/** What one method takes for one shape; bytes. */
export interface PlannedMethod {
  readonly shape: Shape;
  readonly method: Method;
  readonly formula: number;
  /** The step on one token: what the formulas count, for they leave activations out. */
  readonly least: Memory;
  /** The step of the setting. */
  readonly step: Memory;
}

/** A training run: what its summary says, and what is planned for its shape and adapters; bytes. */
export interface PlannedRun {
  readonly label: string;
  readonly planned: number;
  readonly taken: number;
}

/** Peak memory that someone else published for a rank; MB. */
export interface Published {
  readonly rank: number;
  readonly lora: number;
  readonly qlora: number;
}

/** Plans every method for every shape. */
export function planMethods(shapes: readonly Shape[], setting: Setting): PlannedMethod[] {
  return shapes.flatMap((shape) =>
    methods.map((method) => ({
      shape,
      method,
      formula: method.formula(shape.config, setting),
      least: method.plan(shape.config, { ...setting, batch: 1, length: 1 }),
      step: method.plan(shape.config, fitting(setting, shape)),
    })),
  );
}

export function comparisonTable(planned: readonly PlannedMethod[], setting: Setting): Table {
  const { rank, targets, batch, length } = setting;
  return {
    name: 'memory_comparison',
    title: 'Memory of a training step: formulas and plans',
    note: [
      `Adapters of rank ${rank} on ${targets.join(', ')}. MB are 1e6 bytes. Planned is exact for the program of this project on a CPU, known without running it; a GPU keeps activations in 16 bits and takes less.`,
      'The formulas (p parameters, k adapted matrices of d x d, rank r) leave activations out, so the plan beside them is that of a step on one token.',
      'Full fine-tuning: 12p counts weights and gradients in 16 bits and two moments in float32. The program here trains float32 weights and keeps all gradients for their norm, 4p more.',
      'QLoRA: 0.52p counts every weight as quantized. Embeddings, the tied head, norms and biases stay in 16 bits, which weighs most in small models.',
      'Optimizer is what `paged_optimizer: all` in `train` and `pretrain` keeps on the host, so that a GPU needs that much less.',
      'Adapters, their gradients and moments are float32 here: 16 bytes a parameter, of which the formula counts 12.',
      `The last columns add activations: ${batch} sequences of ${length} tokens (of the model's context where that is shorter).`,
    ].join(' '),
    columns: [
      text('model', 'Model'),
      number('layers', 'Layers', 0),
      number('width', 'Width', 0),
      number('parameters_millions', 'Parameters, millions', 0),
      text('method', 'Method'),
      text('formula', 'Formula'),
      number('formula_mb', 'Formula MB', 1),
      number('planned_mb', 'Planned MB, one token', 1),
      number('ratio', 'Planned / formula', 2),
      number('weights_mb', 'Weights MB', 1),
      number('adapters_mb', 'Adapters MB', 2),
      number('optimizer_mb', 'Optimizer MB', 2),
      number('activations_mb', `Activations and gradients MB, ${batch} x ${length}`, 1),
      number('step_mb', `Planned MB, ${batch} x ${length}`, 1),
    ],
    rows: planned.map(({ shape: { name, config }, method, formula, least, step }) => [
      name,
      config.layers,
      config.width,
      parameterCounts(config).all / 1e6,
      method.name,
      method.words,
      formula / 1e6,
      least.total / 1e6,
      least.total / formula,
      step.weights / 1e6,
      step.adapters / 1e6,
      step.optimizer / 1e6,
      step.activations / 1e6,
      step.total / 1e6,
    ]),
  };
}

/** The setting with rows no longer than the model's context. */
function fitting(setting: Setting, { config }: Shape): Setting {
  return { ...setting, length: Math.min(setting.length, config.contextLength) };
}

/** LoRA's and QLoRA's peak by rank, beside published figures where there are some. */
export function rankTable(
  shape: Shape,
  ranks: readonly number[],
  given: Setting,
  published: readonly Published[],
  source: string,
): Table {
  const { name, config } = shape;
  const setting = fitting(given, shape);
  const [, lora, qlora] = methods as [Method, Method, Method];
  const others = published.length > 0;
  return {
    name: 'memory_by_rank',
    title: `Peak memory of a training step by rank, ${name}`,
    note: [
      `Planned and exact for a CPU: adapters on ${setting.targets.join(', ')}, ${setting.batch} sequences of ${setting.length} tokens; MB are 1e6 bytes.`,
      ...(others ? [`Published: ${source}. Not the same program, and what its step was is not known here.`] : []),
    ].join(' '),
    columns: [
      number('rank', 'Rank', 0),
      number('lora_mb', 'LoRA MB', 2),
      number('qlora_mb', 'QLoRA MB', 2),
      number('reduction_percent', 'Reduction %', 1),
      ...(others
        ? [
            number('published_lora_mb', 'Published LoRA MB', 0),
            number('published_qlora_mb', 'Published QLoRA MB', 0),
            number('published_reduction_percent', 'Published reduction %', 1),
          ]
        : []),
    ],
    rows: ranks.map((rank) => {
      const [before, after] = [lora, qlora].map((method) => method.plan(config, { ...setting, rank }).total / 1e6);
      const other = published.find((one) => one.rank === rank);
      return [
        rank,
        before!,
        after!,
        100 * (1 - after! / before!),
        ...(others
          ? [other?.lora ?? null, other?.qlora ?? null, other ? 100 * (1 - other.qlora / other.lora) : null]
          : []),
      ];
    }),
  };
}

/** What runs took beside what is planned for their shapes; null when there are no runs. */
export function runsTable(runs: readonly PlannedRun[]): Table | null {
  if (runs.length === 0) return null;
  return {
    name: 'memory_runs',
    title: 'What runs took, and what is planned for them',
    note: 'A run takes the arena of its training program, once, when the program is loaded; what it paged to the host is counted too. Planned is this stage’s own plan for the shape, adapters and rows that the run tells of; the difference is in bytes.',
    columns: [
      text('run', 'Run'),
      number('taken_mb', 'Run MB', 3),
      number('planned_mb', 'Planned MB', 3),
      number('difference_bytes', 'Difference, bytes', 0),
    ],
    rows: runs.map(({ label, planned, taken }) => [label, taken / 1e6, planned / 1e6, taken - planned]),
  };
}
