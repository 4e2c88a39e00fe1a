/** A GPT-2 checkpoint as a Hugging Face folder: config.json, model.safetensors (whole or in shards) and the tokenizer's file. */
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { formatConfig, type Gpt2Config, parseConfig } from './config.ts';
import { toBfloat16, toFloat16 } from './float16.ts';
import { FormatError } from './format_error.ts';
import { readJson, writeJson } from './json.ts';
import { openSafetensors, type SafetensorsFile, type Tensor, writeSafetensors } from './safetensors.ts';

/** A weight in float32, row-major; matrices of linear layers are [out, in]. */
export interface DenseWeight {
  readonly kind: 'dense';
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A GPT-2's sizes and weights, by Hugging Face's names without `transformer.`: `wte.weight`, `h.0.attn.c_attn.weight`, ... */
export interface Checkpoint {
  readonly config: Gpt2Config;
  readonly weights: ReadonlyMap<string, DenseWeight>;
}

/** How floats are stored in a written checkpoint; values are rounded to the nearest, ties to even. */
export type FloatStorage = 'F32' | 'BF16' | 'F16';

/** The four matrices of a block, [out, in] as multiples of the width. On disk they are Conv1D weights, [in, out]. */
const matrices = {
  'attn.c_attn': [3, 1],
  'attn.c_proj': [1, 1],
  'mlp.c_fc': [4, 1],
  'mlp.c_proj': [1, 4],
} as const;

/** Whether a weight is one of the linear layers' matrices, which are stored [in, out] in a checkpoint. */
export function isMatrix(name: string): boolean {
  return /^h\.\d+\.(?:attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight$/.test(name);
}

/** Every weight that a model of these sizes has, in the model's order, with its shape (matrices as [out, in]). */
export function weightShapes(config: Gpt2Config): ReadonlyMap<string, readonly number[]> {
  const { width, vocabSize, contextLength, layers } = config;
  const shapes = new Map<string, readonly number[]>([
    ['wte.weight', [vocabSize, width]],
    ['wpe.weight', [contextLength, width]],
  ]);
  for (let layer = 0; layer < layers; layer++) {
    for (const norm of ['ln_1', 'ln_2']) {
      shapes.set(`h.${layer}.${norm}.weight`, [width]);
      shapes.set(`h.${layer}.${norm}.bias`, [width]);
    }
    for (const [matrix, [out, input]] of Object.entries(matrices)) {
      shapes.set(`h.${layer}.${matrix}.weight`, [out * width, input * width]);
      shapes.set(`h.${layer}.${matrix}.bias`, [out * width]);
    }
  }
  shapes.set('ln_f.weight', [width]);
  shapes.set('ln_f.bias', [width]);
  return shapes;
}

/**
 * Reads a checkpoint folder into float32.
 * @throws FormatError when a file is missing or malformed, a weight is missing, has the wrong shape, or holds NaN or infinity,
 *   or when the folder holds quantized matrices (readQuantizedCheckpoint reads those).
 */
export function readCheckpoint(folder: string): Checkpoint {
  const { config, tensors } = openCheckpoint(folder);
  const weights = new Map<string, DenseWeight>();
  for (const [name, shape] of weightShapes(config)) weights.set(name, readDenseWeight(tensors, name, shape));
  return { config, weights };
}

/** The sizes in a checkpoint folder's config.json. @throws FormatError as parseConfig. */
export function readConfig(folder: string): Gpt2Config {
  const path = join(folder, 'config.json');
  if (!existsSync(path)) throw new FormatError(folder, 'there is no config.json: not a checkpoint folder');
  return parseConfig(readJson(path), path);
}

/** A checkpoint's tensors wherever they lie, by their names without `transformer.`. */
export interface CheckpointTensors {
  readonly folder: string;
  has(name: string): boolean;
  /** @throws FormatError naming the folder when there is none of that name. */
  file(name: string): { readonly file: SafetensorsFile; readonly stored: string };
}

/**
 * Opens a checkpoint folder without reading its tensors.
 * @throws FormatError for a missing or malformed file.
 */
export function openCheckpoint(folder: string): { readonly config: Gpt2Config; readonly tensors: CheckpointTensors } {
  const config = readConfig(folder);
  const places = new Map<string, { file: SafetensorsFile; stored: string }>();
  for (const file of weightFiles(folder)) {
    for (const stored of file.tensors.keys()) {
      const name = stored.replace(/^transformer\./, '');
      const other = places.get(name);
      if (other !== undefined)
        throw new FormatError(file.path, `'${stored}' and '${other.stored}' (${other.file.path}) are the same weight`);
      places.set(name, { file, stored });
    }
  }
  const tensors: CheckpointTensors = {
    folder,
    has: (name) => places.has(name),
    file(name) {
      const place = places.get(name);
      if (place === undefined) throw new FormatError(folder, `the weight '${name}' is missing`);
      return place;
    },
  };
  return { config, tensors };
}

function weightFiles(folder: string): SafetensorsFile[] {
  const whole = join(folder, 'model.safetensors');
  if (existsSync(whole)) return [openSafetensors(whole)];
  const index = join(folder, 'model.safetensors.index.json');
  if (!existsSync(index)) {
    throw new FormatError(
      folder,
      'there is no model.safetensors (nor model.safetensors.index.json): not a checkpoint folder',
    );
  }
  return shards(folder, index);
}

/** The files that an index names; what the index says of each tensor must be so. */
function shards(folder: string, index: string): SafetensorsFile[] {
  const { weight_map: map } = readJson(index) as { weight_map?: unknown };
  if (typeof map !== 'object' || map === null || !Object.values(map).every((file) => typeof file === 'string')) {
    throw new FormatError(index, `'weight_map' must say for each tensor which file holds it`);
  }
  const files = new Map<string, SafetensorsFile>();
  for (const [name, shard] of Object.entries(map as Record<string, string>)) {
    if (shard !== shard.replace(/.*[\\/]/s, '') || shard === '')
      throw new FormatError(index, `'${name}' is in '${shard}', which is not a file of this folder`);
    if (!files.has(shard)) {
      const path = join(folder, shard);
      if (!existsSync(path)) throw new FormatError(index, `the shard '${shard}', which holds '${name}', is missing`);
      files.set(shard, openSafetensors(path));
    }
    if (!files.get(shard)!.tensors.has(name))
      throw new FormatError(join(folder, shard), `tensor '${name}' is missing, though the index says it is here`);
  }
  return [...files.values()];
}

/**
 * Reads one float weight; a matrix is turned from [in, out] to [out, in].
 * @param shape what the weight must be once turned.
 * @throws FormatError when it is missing, quantized, of another shape, or holds NaN or infinity.
 */
export function readDenseWeight(tensors: CheckpointTensors, name: string, shape: readonly number[]): DenseWeight {
  const { file, stored } = tensors.file(name);
  if (tensors.has(`${name}.absmax`))
    throw new FormatError(file.path, `'${stored}' is quantized, where 16- or 32-bit weights are needed`);
  const matrix = isMatrix(name);
  const expected = matrix ? [shape[1]!, shape[0]!] : shape;
  const info = file.tensors.get(stored)!;
  if (info.shape.join() !== expected.join()) {
    throw new FormatError(
      file.path,
      `'${stored}' is [${info.shape.join(', ')}]; config.json makes it [${expected.join(', ')}]`,
    );
  }
  const { data } = file.readFloat32(stored);
  for (let i = 0; i < data.length; i++) {
    if (!Number.isFinite(data[i]))
      throw new FormatError(file.path, `'${stored}' holds ${data[i]} at element ${i}: the weights are broken`);
  }
  return { kind: 'dense', shape, data: matrix ? transpose(data, expected[0]!, expected[1]!) : data };
}

/** The transpose of a row-major [rows, columns] matrix, as [columns, rows]. */
export function transpose(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  // Tiles keep both the rows read and the rows written in the cache.
  const tile = 32;
  for (let top = 0; top < rows; top += tile) {
    for (let left = 0; left < columns; left += tile) {
      const bottom = Math.min(rows, top + tile);
      const right = Math.min(columns, left + tile);
      for (let r = top; r < bottom; r++) for (let c = left; c < right; c++) out[c * rows + r] = data[r * columns + c]!;
    }
  }
  return out;
}

/** Files of a tokenizer that travel with a checkpoint. */
export const tokenizerFiles = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'vocab.json',
  'merges.txt',
];

/** Copies whatever tokenizer files `from` (a checkpoint or tokenizer folder) holds. */
export function copyTokenizer(from: string, folder: string): void {
  mkdirSync(folder, { recursive: true });
  for (const name of tokenizerFiles)
    if (existsSync(join(from, name))) copyFileSync(join(from, name), join(folder, name));
}

/**
 * Writes a checkpoint folder that `transformers` reads; the same weights give the same bytes.
 * @throws RangeError when a weight is missing, unknown, or not of its shape.
 */
export function writeCheckpoint(folder: string, checkpoint: Checkpoint, storage: FloatStorage): void {
  const { config, weights } = checkpoint;
  const tensors = new Map<string, Tensor>();
  for (const [name, shape] of weightShapes(config)) {
    tensors.set(`transformer.${name}`, denseTensor(name, weights.get(name), shape, storage));
  }
  refuseUnknown(weights, config);
  mkdirSync(folder, { recursive: true });
  writeJson(join(folder, 'config.json'), formatConfig(config, torchType[storage]));
  writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' });
}

/** torch's name of a storage type. */
export const torchType = { F32: 'float32', BF16: 'bfloat16', F16: 'float16' } as const satisfies Record<
  FloatStorage,
  string
>;

/** A weight as it is stored: a matrix turned back to [in, out]. @throws RangeError when it is missing or not of its shape. */
export function denseTensor(
  name: string,
  weight: DenseWeight | undefined,
  shape: readonly number[],
  storage: FloatStorage,
): Tensor {
  if (weight === undefined) throw new RangeError(`the weight '${name}' is missing`);
  if (weight.shape.join() !== shape.join()) {
    throw new RangeError(
      `the weight '${name}' is [${weight.shape.join(', ')}], where the config makes it [${shape.join(', ')}]`,
    );
  }
  return isMatrix(name)
    ? floatTensor([shape[1]!, shape[0]!], transpose(weight.data, shape[0]!, shape[1]!), storage)
    : floatTensor(shape, weight.data, storage);
}

function floatTensor(shape: readonly number[], data: Float32Array, storage: FloatStorage): Tensor {
  switch (storage) {
    case 'F32':
      return { dtype: 'F32', shape, data };
    case 'BF16':
      return { dtype: 'BF16', shape, data: toBfloat16(data) };
    case 'F16':
      return { dtype: 'F16', shape, data: toFloat16(data) };
  }
}

/** @throws RangeError for a weight that a model of these sizes does not have. */
export function refuseUnknown(weights: ReadonlyMap<string, unknown>, config: Gpt2Config): void {
  const known = weightShapes(config);
  for (const name of weights.keys())
    if (!known.has(name)) throw new RangeError(`a GPT-2 of ${config.layers} layers has no weight '${name}'`);
}
