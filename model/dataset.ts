/** A tokenized data set: a folder of meta.json and tokens.safetensors, with a split for training and one for validation. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError } from './format_error.ts';
import { readJson, writeJson } from './json.ts';
import { openSafetensors, type SafetensorsFile, type Tensor, writeSafetensors } from './safetensors.ts';

/** The splits of every data set. */
export const splitNames = ['train', 'validation'] as const;
export type SplitName = (typeof splitNames)[number];

/** One prompt with its response: tokens[0 .. promptLength) are the prompt, the rest is the response and carries loss. */
export interface Example {
  readonly tokens: Int32Array;
  readonly promptLength: number;
}

/** Examples of one split, end to end in memory. */
export interface ExampleSplit {
  readonly kind: 'examples';
  readonly count: number;
  /** @throws RangeError outside 0 .. count - 1. */
  example(index: number): Example;
}

/** One stream of tokens, for pretraining. */
export interface TextSplit {
  readonly kind: 'text';
  readonly tokens: Int32Array;
}

/** What is known of how a data set came about. */
export interface DatasetMeta {
  /** The tokenizer's size; equals that of the model that the data is for. */
  readonly vocabSize: number;
  /** The token that ends a text. */
  readonly endOfText: number;
  /** The longest example, in tokens, that was let in; 0 for a text. */
  readonly maxLength: number;
  readonly seed: number;
  /** Records left out because no token of the response was left within maxLength, or because they had no response. */
  readonly dropped: number;
  /** Records whose response was cut at maxLength. */
  readonly truncated: number;
}

/** Prompts with responses. */
export interface InstructionDataset {
  readonly meta: DatasetMeta;
  readonly splits: Readonly<Record<SplitName, ExampleSplit>>;
}

/** Streams of text. */
export interface TextDataset {
  readonly meta: DatasetMeta;
  readonly splits: Readonly<Record<SplitName, TextSplit>>;
}

/** An ExampleSplit of examples in memory. */
export function exampleSplit(examples: readonly Example[]): ExampleSplit {
  return { kind: 'examples', count: examples.length, example: (index) => examples[inRange(index, examples.length)]! };
}

function inRange(index: number, count: number): number {
  if (!Number.isInteger(index) || index < 0 || index >= count) throw new RangeError(`no example ${index} of ${count}`);
  return index;
}

/** Writes a data set of prompts and responses into a folder, made if need be; the same data gives the same bytes. */
export function writeDataset(folder: string, dataset: InstructionDataset): void {
  const tensors = new Map<string, Tensor>();
  for (const name of splitNames) {
    const split = dataset.splits[name];
    const examples = Array.from({ length: split.count }, (_, i) => split.example(i));
    const offsets = new Int32Array(examples.length + 1);
    for (const [i, { tokens }] of examples.entries()) offsets[i + 1] = offsets[i]! + tokens.length;
    const tokens = new Int32Array(offsets.at(-1)!);
    for (const [i, example] of examples.entries()) tokens.set(example.tokens, offsets[i]!);
    tensors.set(`${name}.tokens`, vector(tokens));
    tensors.set(`${name}.offsets`, vector(offsets));
    tensors.set(`${name}.prompt_lengths`, vector(Int32Array.from(examples, (example) => example.promptLength)));
  }
  write(folder, 'examples', dataset.meta, tensors);
}

/** Writes a data set of text streams into a folder, made if need be. */
export function writeTextDataset(folder: string, dataset: TextDataset): void {
  const tensors = new Map<string, Tensor>(
    splitNames.map((name) => [`${name}.tokens`, vector(dataset.splits[name].tokens)]),
  );
  write(folder, 'text', dataset.meta, tensors);
}

function vector(data: Int32Array): Tensor {
  return { dtype: 'I32', shape: [data.length], data };
}

function write(folder: string, kind: Kind, meta: DatasetMeta, tensors: ReadonlyMap<string, Tensor>): void {
  const counts = Object.fromEntries(
    splitNames.map((name) => [
      name,
      {
        examples: tensors.get(`${name}.prompt_lengths`)?.shape[0] ?? 0,
        tokens: tensors.get(`${name}.tokens`)!.shape[0]!,
      },
    ]),
  );
  mkdirSync(folder, { recursive: true });
  writeJson(join(folder, 'meta.json'), { kind, ...meta, counts });
  writeSafetensors(join(folder, 'tokens.safetensors'), tensors);
}

type Kind = 'examples' | 'text';

/**
 * Reads a data set of prompts and responses.
 * @throws FormatError when a file is missing or malformed, offsets do not fit, or a token is outside the vocabulary.
 */
export function readDataset(folder: string): InstructionDataset {
  const { meta, file } = open(folder, 'examples');
  return {
    meta,
    splits: { train: readExamples(file, 'train', meta), validation: readExamples(file, 'validation', meta) },
  };
}

/** Reads a data set of text streams. @throws FormatError as readDataset. */
export function readTextDataset(folder: string): TextDataset {
  const { meta, file } = open(folder, 'text');
  const split = (name: SplitName): TextSplit => ({ kind: 'text', tokens: readTokens(file, name, meta) });
  return { meta, splits: { train: split('train'), validation: split('validation') } };
}

function open(folder: string, wanted: Kind): { meta: DatasetMeta; file: SafetensorsFile } {
  const path = join(folder, 'meta.json');
  if (!existsSync(path))
    throw new FormatError(folder, 'there is no meta.json: not a data set made by a tokenize stage');
  const json = readJson(path) as Record<string, unknown>;
  if (json.kind !== wanted) {
    const words = { examples: 'prompts with responses (stage tokenize)', text: 'a text (stage tokenize-text)' };
    throw new FormatError(
      folder,
      `a data set of ${words[wanted]} is needed, and this is one of ${words[json.kind as Kind] ?? JSON.stringify(json.kind)}`,
    );
  }
  const number = (key: keyof DatasetMeta): number => {
    const value = json[key];
    if (!Number.isSafeInteger(value))
      throw new FormatError(path, `${key} is ${JSON.stringify(value)}; an integer is expected`);
    return value as number;
  };
  const meta: DatasetMeta = {
    vocabSize: number('vocabSize'),
    endOfText: number('endOfText'),
    maxLength: number('maxLength'),
    seed: number('seed'),
    dropped: number('dropped'),
    truncated: number('truncated'),
  };
  return { meta, file: openSafetensors(join(folder, 'tokens.safetensors')) };
}

function readInt32(file: SafetensorsFile, name: string): Int32Array {
  const tensor = file.read(name);
  if (tensor.dtype !== 'I32' || tensor.shape.length !== 1)
    throw new FormatError(file.path, `tensor '${name}' must be I32 of one dimension`);
  return tensor.data;
}

function readTokens(file: SafetensorsFile, split: SplitName, meta: DatasetMeta): Int32Array {
  const tokens = readInt32(file, `${split}.tokens`);
  const bad = tokens.findIndex((token) => token < 0 || token >= meta.vocabSize);
  if (bad !== -1)
    throw new FormatError(
      file.path,
      `${split}.tokens: token ${tokens[bad]} at ${bad} is outside the vocabulary of ${meta.vocabSize}`,
    );
  return tokens;
}

function readExamples(file: SafetensorsFile, split: SplitName, meta: DatasetMeta): ExampleSplit {
  const tokens = readTokens(file, split, meta);
  const offsets = readInt32(file, `${split}.offsets`);
  const prompts = readInt32(file, `${split}.prompt_lengths`);
  const count = prompts.length;
  if (offsets.length !== count + 1 || offsets[0] !== 0 || offsets[count] !== tokens.length) {
    throw new FormatError(file.path, `${split}.offsets do not go from 0 to ${tokens.length} in ${count} examples`);
  }
  for (let i = 0; i < count; i++) {
    const length = offsets[i + 1]! - offsets[i]!;
    if (prompts[i]! < 1 || prompts[i]! >= length) {
      throw new FormatError(
        file.path,
        `${split} example ${i}: a prompt of ${prompts[i]} tokens in an example of ${length}`,
      );
    }
  }
  const example = (index: number): Example => ({
    tokens: tokens.subarray(offsets[inRange(index, count)]!, offsets[index + 1]!),
    promptLength: prompts[index]!,
  });
  return { kind: 'examples', count, example };
}
