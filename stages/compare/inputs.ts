/** Reads what evaluate and train wrote, and refuses what cannot be compared, naming the task that it came from. */
import { fromCSV } from 'arquero';
import { type Json, type Member, StageError } from '../../engine/stage.ts';
import { FormatError } from '../../model/format_error.ts';
import { readJson } from '../../model/json.ts';
import { readText } from '../../model/utf8.ts';
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

/** An axis value as text: a string as it is, anything else as JSON. */
export function axisText(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** @throws StageError naming the member when its file is not what evaluate writes. */
export function readMetrics(path: string, whose: string): Metrics {
  const from = fields(path, `the metrics of ${whose}`);
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
  const whole = fields(path, `the training summary of ${whose}`);
  const memory = whole.inside('memory');
  return {
    memory: {
      weights: memory.number('weights'),
      adapters: memory.number('adapters'),
      optimizer: memory.number('optimizer'),
      activations: memory.number('activations'),
      total: memory.number('total'),
    },
    trainableParameters: whole.number('trainableParameters'),
    steps: whole.number('steps'),
    finalLoss: whole.number('finalLoss'),
  };
}

/** How many weights a quantized model holds in low precision. @throws StageError as the others. */
export function readQuantizedWeights(path: string, whose: string): number {
  return fields(path, `the quantization summary of ${whose}`).number('quantizedWeights');
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

/** Typed access to the fields of a JSON object, with errors that say what is wrong in which file. */
interface Fields {
  has(name: string): boolean;
  number(name: string): number;
  optional(name: string): number | null;
  numbers(name: string): readonly number[];
  inside(name: string): Fields;
}

function fields(path: string, what: string): Fields {
  return fieldsOf(
    reading(what, () => readJson(path)),
    what,
  );
}

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new StageError(`${what}: expected an object, found ${show(value)}.`);
  }
  const object = value as Readonly<Record<string, unknown>>;
  const has = (name: string) => object[name] !== undefined && object[name] !== null;
  const number = (name: string): number => {
    const found = object[name];
    if (typeof found === 'number' && Number.isFinite(found)) return found;
    throw new StageError(`${what}: "${name}" is ${show(found)}, not a finite number.`);
  };
  return {
    has,
    number,
    optional: (name) => (has(name) ? number(name) : null),
    numbers(name) {
      const found = object[name];
      const wrong = Array.isArray(found) ? found.findIndex((x) => typeof x !== 'number' || !Number.isFinite(x)) : -1;
      if (!Array.isArray(found)) throw new StageError(`${what}: "${name}" is ${show(found)}, not a list of numbers.`);
      if (wrong >= 0)
        throw new StageError(`${what}: "${name}"[${wrong}] is ${show(found[wrong])}, not a finite number.`);
      return found as number[];
    },
    inside: (name) => fieldsOf(object[name], `${what}: "${name}"`),
  };
}

function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof FormatError) throw new StageError(`${what} cannot be read: ${error.message}`);
    throw error;
  }
}

function show(value: unknown): string {
  if (value === undefined) return 'missing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 40 ? `${text.slice(0, 37)}...` : text;
}
