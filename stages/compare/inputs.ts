/** Reads what evaluate and train wrote, and refuses what cannot be compared, naming the task that it came from. */
import { fromCSV } from 'arquero';
import { type Json, type Member, StageError } from '../../engine/stage.ts';
import { readText } from '../../model/utf8.ts';
import { shapeText } from '../shared/base_shape.ts';
import { type Fields, readFields, reading, show } from '../shared/fields.ts';
import type { Memory, Metric } from './results.ts';

/** evaluate's `metrics`. Null marks a metric that was not measured. */
export interface Metrics {
  readonly loss: number;
  readonly tokens: number;
  readonly examples: number;
  readonly perplexity: number | null;
  /** The loss of a uniform guess over the vocabulary. */
  readonly uniformLoss: number | null;
  readonly top1Agreement: number | null;
  readonly kl: number | null;
  readonly greedyMatch: number | null;
  readonly firstDivergence: number | null;
  readonly embeddingCosine: number | null;
  readonly lossPerExample: readonly number[];
  /** Response tokens of each example; where absent, examples count alike. */
  readonly tokensPerExample: readonly number[] | null;
}

/** train's `summary`. */
export interface Summary {
  /** Layers, width and vocabulary of the base: what models of one name agree in. */
  readonly base: string;
  /** The matrices that bear adapters, joined with +. */
  readonly targets: string;
  readonly rank: number;
  readonly memory: Memory;
  readonly trainableParameters: number;
  readonly steps: number;
  readonly finalLoss: number;
}

/** One row of train's `curve`; the validation loss is null where it was not evaluated. */
export interface CurveRow {
  readonly step: number;
  readonly loss: number;
  readonly validation: number | null;
}

/** The metrics that configurations can be compared by. */
export const metricsByName = {
  loss: { name: 'loss', label: 'held-out loss', unit: 'nats per token', better: 'lower' },
  perplexity: { name: 'perplexity', label: 'held-out perplexity', unit: '', better: 'lower' },
  top1Agreement: { name: 'top1Agreement', label: 'top-1 agreement', unit: '', better: 'higher' },
  kl: { name: 'kl', label: 'KL divergence', unit: 'nats', better: 'lower' },
  greedyMatch: { name: 'greedyMatch', label: 'greedy token match', unit: '', better: 'higher' },
  embeddingCosine: { name: 'embeddingCosine', label: 'embedding cosine', unit: '', better: 'higher' },
} as const satisfies Record<string, Metric>;

export type MetricName = keyof typeof metricsByName;

/** `targets=q+v, precision=nf4, seed=1`; `(no axes)` for none. */
export function axesText(axes: Readonly<Record<string, Json>>): string {
  const entries = Object.entries(axes);
  return entries.length === 0 ? '(no axes)' : entries.map(([axis, value]) => `${axis}=${axisText(value)}`).join(', ');
}

/** An axis value as text: a string as it is, a map with a `name` by that name, as in the task's id, anything else as JSON. */
export function axisText(value: Json): string {
  if (typeof value === 'string') return value;
  const { name } = Object(value) as { readonly name?: Json };
  return typeof name === 'string' ? name : JSON.stringify(value);
}

/** @throws StageError naming the member when its file is not what evaluate writes. */
export function readMetrics(path: string, whose: string): Metrics {
  const from = readFields(path, `the metrics of ${whose}`);
  return {
    loss: from.number('loss'),
    tokens: from.number('tokens'),
    examples: from.number('examples'),
    perplexity: from.optional('perplexity'),
    uniformLoss: from.optional('uniformLoss'),
    top1Agreement: from.optional('top1Agreement'),
    kl: from.optional('kl'),
    greedyMatch: from.optional('greedyMatch'),
    firstDivergence: from.optional('firstDivergence'),
    embeddingCosine: from.optional('embeddingCosine'),
    lossPerExample: from.numbers('lossPerExample'),
    tokensPerExample: from.has('tokensPerExample') ? from.numbers('tokensPerExample') : null,
  };
}

/** @throws StageError naming the member when its file is not what train writes. */
export function readSummary(path: string, whose: string): Summary {
  const whole = readFields(path, `the training summary of ${whose}`);
  const [base, adapters] = [whole.inside('base'), whole.inside('adapters')];
  const sizes = {
    layers: base.number('layers'),
    width: base.number('width'),
    vocabSize: base.number('vocabSize'),
  };
  return {
    base: shapeText(sizes),
    targets: adapters.texts('targets').join('+'),
    rank: adapters.number('rank'),
    memory: memoryIn(whole),
    trainableParameters: whole.number('trainableParameters'),
    steps: whole.number('steps'),
    finalLoss: whole.number('finalLoss'),
  };
}

/** The peak memory that a training summary tells of. */
export function memoryIn(summary: Fields): Memory {
  const memory = summary.inside('memory');
  return {
    weights: memory.number('weights'),
    adapters: memory.number('adapters'),
    optimizer: memory.number('optimizer'),
    activations: memory.number('activations'),
    total: memory.number('total'),
  };
}

/** How many weights a quantized model holds in low precision. @throws StageError as the others. */
export function readQuantizedWeights(path: string, whose: string): number {
  return readFields(path, `the quantization summary of ${whose}`).number('quantizedWeights');
}

/** @throws StageError naming the member when a column is missing or a value is not a number. */
export function readCurve(path: string, whose: string): readonly CurveRow[] {
  const what = `the loss curve of ${whose}`;
  const table = fromCSV(reading(what, () => readText(path)));
  const names = table.columnNames();
  for (const name of ['step', 'loss', 'validation_loss']) {
    if (!names.includes(name)) throw new StageError(`${what} has no column "${name}", only ${names.join(', ')}.`);
  }
  return (table.objects() as Record<string, unknown>[]).map((row, index) => {
    const number = (name: string): number => {
      const value = row[name];
      if (typeof value === 'number' && Number.isFinite(value)) return value;
      throw new StageError(`${what}: ${name} in row ${index + 1} is ${show(value)}, not a finite number.`);
    };
    const validation = row.validation_loss;
    const missing = validation === null || validation === undefined || validation === '';
    return { step: number('step'), loss: number('loss'), validation: missing ? null : number('validation_loss') };
  });
}

/** The members of a fan-in by a key made of some of their axes. @throws StageError when two members have the same key. */
export function indexMembers(
  members: readonly Member[],
  keyOf: (member: Member) => string,
  what: string,
): ReadonlyMap<string, Member> {
  const index = new Map<string, Member>();
  for (const member of members) {
    const key = keyOf(member);
    const other = index.get(key);
    if (other !== undefined) {
      throw new StageError(
        `two members of "${what}" cannot be told apart: (${axesText(other.axes)}) and (${axesText(member.axes)}). Name every axis in which they differ in rows, comparison or replicate, or leave one out.`,
      );
    }
    index.set(key, member);
  }
  return index;
}
