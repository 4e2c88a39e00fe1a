/** Batches of a data set: endless shuffled ones for training, and each example once, in order, for evaluation. */
import type { Example, ExampleSplit, TextSplit } from './dataset.ts';
import { permutation, Random } from './random.ts';

/** Tokens [batch, length] and, for each, the token that should follow; -1 where there is no loss. Both row-major. */
export interface Batch {
  readonly tokens: Int32Array;
  readonly targets: Int32Array;
}

export interface BatchShape {
  /** Rows. */
  readonly batch: number;
  /** Tokens in a row; shorter examples are padded at the end with token 0 and target -1. */
  readonly length: number;
}

/**
 * Training batches without end: epoch after epoch, each a new permutation drawn from the seed, one running on into the next so that
 * every batch is full. A text's epoch is its windows of `length` tokens, from a random start.
 * The same split, shape and seed give the same batches.
 * @throws RangeError for an empty split, a text shorter than a window, or an example that is longer than a row.
 */
export function* batches(
  split: ExampleSplit | TextSplit,
  shape: BatchShape & { readonly seed: number },
): Generator<Batch, never> {
  const rows =
    split.kind === 'examples' ? shuffledExamples(split, shape.seed) : shuffledWindows(split, shape.length, shape.seed);
  for (;;) {
    const batch = emptyBatch(shape);
    for (let row = 0; row < shape.batch; row++) putRow(batch, row, shape.length, rows.next().value);
    yield batch;
  }
}

/**
 * Each example of a split once, in order; the last batch is filled up with rows without loss.
 * A text is cut into windows of `length` tokens from its start; a rest without a next token is left out.
 * @throws RangeError for an example that is longer than a row.
 */
export function* evaluationBatches(split: ExampleSplit | TextSplit, shape: BatchShape): Generator<Batch, void> {
  const count = split.kind === 'examples' ? split.count : windowCount(split, shape.length, 0);
  const row = (i: number): Example =>
    split.kind === 'examples' ? split.example(i) : window(split, i * shape.length, shape.length);
  for (let start = 0; start < count; start += shape.batch) {
    const batch = emptyBatch(shape);
    for (let i = start; i < Math.min(count, start + shape.batch); i++) putRow(batch, i - start, shape.length, row(i));
    yield batch;
  }
}

function emptyBatch({ batch, length }: BatchShape): Batch {
  return { tokens: new Int32Array(batch * length), targets: new Int32Array(batch * length).fill(-1) };
}

/** The last token of an example is only ever a target, so a row of `length` holds an example of length + 1. */
function putRow(batch: Batch, row: number, length: number, { tokens, promptLength }: Example): void {
  if (tokens.length > length + 1) {
    throw new RangeError(
      `an example of ${tokens.length} tokens does not fit rows of ${length}; tokenize with max_length ${length} or use longer rows`,
    );
  }
  const start = row * length;
  batch.tokens.set(tokens.subarray(0, Math.min(tokens.length, length)), start);
  for (let i = promptLength; i < tokens.length; i++) batch.targets[start + i - 1] = tokens[i]!;
}

function* shuffledExamples(split: ExampleSplit, seed: number): Generator<Example, never> {
  if (split.count === 0) throw new RangeError('the split holds no examples');
  for (let epoch = 0; ; epoch++) {
    for (const index of permutation(split.count, new Random(seed, `epoch ${epoch}`))) yield split.example(index);
  }
}

function* shuffledWindows(split: TextSplit, length: number, seed: number): Generator<Example, never> {
  if (windowCount(split, length, 0) === 0) {
    throw new RangeError(
      `a text of ${split.tokens.length} tokens holds no window of ${length} with the token after it`,
    );
  }
  for (let epoch = 0; ; epoch++) {
    const random = new Random(seed, `epoch ${epoch}`);
    const first = random.integer(Math.min(length, split.tokens.length - length));
    for (const index of permutation(windowCount(split, length, first), random)) {
      yield window(split, first + index * length, length);
    }
  }
}

function windowCount(split: TextSplit, length: number, first: number): number {
  return Math.max(0, Math.floor((split.tokens.length - 1 - first) / length));
}

/** A window of `length` tokens and the one after it, as an example in which all but the first token carry loss. */
function window(split: TextSplit, start: number, length: number): Example {
  return { tokens: split.tokens.subarray(start, start + length + 1), promptLength: 1 };
}
