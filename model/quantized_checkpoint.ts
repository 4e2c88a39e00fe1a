/** A checkpoint some of whose matrices are quantized, in the layout that bitsandbytes gives a Hugging Face folder. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  type CheckpointTensors,
  type DenseWeight,
  denseTensor,
  isMatrix,
  openCheckpoint,
  readDenseWeight,
  refuseUnknown,
  torchType,
  weightShapes,
} from './checkpoint.ts';
import { formatConfig, type Gpt2Config } from './config.ts';
import { FormatError } from './format_error.ts';
import { parseJson, writeJson } from './json.ts';
import { nestedBlock, type PackedBits, type Quantized, type QuantizedAbsmax } from './nf4.ts';
import { normalFloatCodebook } from './nf4_codebooks.ts';
import { type SafetensorsFile, type Tensor, writeSafetensors } from './safetensors.ts';
import { decodeUtf8 } from './utf8.ts';

/** How everything is stored that is not quantized. */
const storage = 'BF16';

/** A quantized matrix [out, in]; its scales are plain, or quantized again (double quantization). */
export interface Nf4Weight extends Omit<Quantized, 'absmax'> {
  readonly kind: 'nf4';
  readonly shape: readonly number[];
  readonly absmax: Float32Array | QuantizedAbsmax;
}

export type CheckpointWeight = DenseWeight | Nf4Weight;

/** A GPT-2 any of whose matrices may be quantized; names as in Checkpoint. */
export interface QuantizedCheckpoint {
  readonly config: Gpt2Config;
  readonly weights: ReadonlyMap<string, CheckpointWeight>;
}

/**
 * Reads a checkpoint folder, each matrix as it is stored: quantized or, in float32, dense. A folder without quantized matrices
 * is read as readCheckpoint reads it.
 * @throws FormatError as readCheckpoint, and for a quantized matrix with a part that is missing or does not fit the others.
 */
export function readQuantizedCheckpoint(folder: string): QuantizedCheckpoint {
  const { config, tensors } = openCheckpoint(folder);
  const weights = new Map<string, CheckpointWeight>();
  for (const [name, shape] of weightShapes(config)) {
    const quantized = isMatrix(name) && tensors.has(`${name}.absmax`);
    weights.set(name, quantized ? readNf4Weight(tensors, name, shape) : readDenseWeight(tensors, name, shape));
  }
  return { config, weights };
}

/** What bitsandbytes keeps beside the tensors, as JSON in a uint8 tensor. */
interface QuantState {
  readonly quant_type: string;
  readonly blocksize: number;
  readonly shape: readonly number[];
  readonly nested_blocksize?: number;
  readonly nested_offset?: number;
}

const codebookBits: readonly PackedBits[] = [2, 3, 4];

/** bitsandbytes has `nf4` alone; for narrower codebooks the name says so, and it refuses them instead of misreading them. */
function quantType(bits: PackedBits): string {
  return `nf${bits}`;
}

function readNf4Weight(tensors: CheckpointTensors, name: string, shape: readonly number[]): Nf4Weight {
  const { file } = tensors.file(name);
  const wrong = (problem: string) => new FormatError(file.path, `the quantized '${name}': ${problem}`);
  const part = <D extends keyof PartData>(suffix: string, dtype: D, count: number) =>
    readPart(tensors, name + suffix, dtype, count);

  const state = readState(tensors, name);
  if (state.shape.join() !== shape.join()) {
    throw wrong(`its quant_state says [${state.shape.join(', ')}]; config.json makes it [${shape.join(', ')}]`);
  }
  const [out, input] = shape as [number, number];
  const block = state.blocksize;
  if (!Number.isInteger(block) || block < 2 || input % block !== 0) {
    throw wrong(`blocks of ${block} do not divide its rows of ${input}`);
  }
  const blocks = (out * input) / block;
  const codes = part('', 'U8', (out * input) / 2);
  const codebook = part('.quant_map', 'F32', 16);
  const base = { kind: 'nf4' as const, shape, codes, codebook, block };
  if (!tensors.has(`${name}.nested_absmax`)) {
    return { ...base, absmax: finite(part('.absmax', 'F32', blocks), wrong) };
  }
  if (state.nested_blocksize !== nestedBlock || typeof state.nested_offset !== 'number') {
    throw wrong(`its quant_state must have nested_blocksize ${nestedBlock} and a number as nested_offset`);
  }
  const absmax: QuantizedAbsmax = {
    codes: part('.absmax', 'U8', blocks),
    nestedAbsmax: finite(part('.nested_absmax', 'F32', Math.ceil(blocks / nestedBlock)), wrong),
    nestedCodebook: part('.nested_quant_map', 'F32', 256),
    offset: state.nested_offset,
  };
  return { ...base, absmax };
}

function finite(scales: Float32Array, wrong: (problem: string) => FormatError): Float32Array {
  const bad = scales.findIndex((scale) => !Number.isFinite(scale));
  if (bad !== -1) throw wrong(`scale ${bad} is ${scales[bad]}: the weights are broken`);
  return scales;
}

interface PartData {
  U8: Uint8Array;
  F32: Float32Array;
}

function readPart<D extends keyof PartData>(
  tensors: CheckpointTensors,
  name: string,
  dtype: D,
  count: number,
): PartData[D] {
  const { file, stored } = tensors.file(name);
  const tensor = file.read(stored);
  if (tensor.dtype !== dtype || tensor.data.length !== count) {
    throw new FormatError(
      file.path,
      `tensor '${stored}' is ${tensor.dtype} of ${tensor.data.length} elements; ${dtype} of ${count} is needed`,
    );
  }
  return tensor.data as PartData[D];
}

function readState(tensors: CheckpointTensors, name: string): QuantState {
  const types = codebookBits.map(quantType);
  const type = types.find((each) => tensors.has(stateName(name, each)));
  if (type === undefined) {
    throw new FormatError(
      tensors.folder,
      `the quantized '${name}' has no quant_state of type ${types.join(', ')}; only NormalFloat is supported`,
    );
  }
  const { file, stored } = tensors.file(stateName(name, type));
  const state = parseState(file, stored);
  if (state?.quant_type !== type || !Array.isArray(state.shape)) {
    throw new FormatError(file.path, `'${stored}' must hold quant_type '${type}', a blocksize and a shape`);
  }
  return state;
}

function parseState(file: SafetensorsFile, stored: string): QuantState | null {
  const tensor = file.read(stored);
  if (tensor.dtype !== 'U8') throw new FormatError(file.path, `'${stored}' is ${tensor.dtype}; JSON in U8 is needed`);
  const place = `${file.path}: '${stored}'`;
  return parseJson(decodeUtf8(tensor.data, place), place) as QuantState | null;
}

function stateName(name: string, type: string): string {
  return `${name}.quant_state.bitsandbytes__${type}`;
}

/**
 * Writes a checkpoint folder that `transformers` with bitsandbytes reads (4-bit matrices; 2 and 3 bits are this project's own).
 * What is not quantized is stored in bf16, which is also what quantized matrices dequantize to.
 * @throws RangeError when a weight is missing, unknown, or not of its shape, or a codebook is not a NormalFloat one.
 */
export function writeQuantizedCheckpoint(folder: string, checkpoint: QuantizedCheckpoint): void {
  const { config, weights } = checkpoint;
  refuseUnknown(weights, config);
  const tensors = new Map<string, Tensor>();
  for (const [name, shape] of weightShapes(config)) {
    const weight = weights.get(name);
    if (weight?.kind === 'nf4') putNf4Weight(tensors, `transformer.${name}`, weight, shape);
    else tensors.set(`transformer.${name}`, denseTensor(name, weight, shape, storage));
  }
  mkdirSync(folder, { recursive: true });
  const quantization = quantizationConfig(weights);
  writeJson(join(folder, 'config.json'), {
    ...formatConfig(config, torchType[storage]),
    ...(quantization === null ? {} : { quantization_config: quantization }),
  });
  writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' });
}

function putNf4Weight(tensors: Map<string, Tensor>, name: string, weight: Nf4Weight, shape: readonly number[]): void {
  const { codes, codebook, absmax, block } = weight;
  if (weight.shape.join() !== shape.join()) {
    throw new RangeError(
      `the weight '${name}' is [${weight.shape.join(', ')}], where the config makes it [${shape.join(', ')}]`,
    );
  }
  const floats = (suffix: string, data: Float32Array) =>
    tensors.set(name + suffix, { dtype: 'F32', shape: [data.length], data });
  tensors.set(name, { dtype: 'U8', shape: [codes.length, 1], data: codes });
  floats('.quant_map', codebook);
  const type = quantType(bitsOf(codebook, name));
  const state = { quant_type: type, blocksize: block, dtype: torchType[storage], shape };
  if (absmax instanceof Float32Array) {
    floats('.absmax', absmax);
    putState(tensors, stateName(name, type), state);
  } else {
    tensors.set(`${name}.absmax`, { dtype: 'U8', shape: [absmax.codes.length], data: absmax.codes });
    floats('.nested_absmax', absmax.nestedAbsmax);
    floats('.nested_quant_map', absmax.nestedCodebook);
    const nested = { nested_blocksize: nestedBlock, nested_dtype: 'float32', nested_offset: absmax.offset };
    putState(tensors, stateName(name, type), { ...state, ...nested });
  }
}

/** JSON as Python's json.dumps spaces it, so that the bytes are those that bitsandbytes writes. */
function putState(
  tensors: Map<string, Tensor>,
  name: string,
  state: Readonly<Record<string, string | number | readonly number[]>>,
): void {
  const text = (value: string | number | readonly number[]) =>
    typeof value === 'object' ? `[${value.join(', ')}]` : JSON.stringify(value);
  const json = `{${Object.entries(state)
    .map(([key, value]) => `"${key}": ${text(value)}`)
    .join(', ')}}`;
  const data = new Uint8Array(Buffer.from(json));
  tensors.set(name, { dtype: 'U8', shape: [data.length], data });
}

function bitsOf(codebook: Float32Array, name: string): PackedBits {
  const bits = codebookBits.find((each) => {
    const entries = normalFloatCodebook(each);
    return codebook.every((value, i) => value === (entries[i] ?? 0));
  });
  if (bits === undefined || codebook.length !== 16)
    throw new RangeError(`the codebook of '${name}' is not a NormalFloat one`);
  return bits;
}

/** The entry by which `transformers` knows which linear layers to make 4-bit ones; null when none is quantized. */
function quantizationConfig(weights: ReadonlyMap<string, CheckpointWeight>): Record<string, unknown> | null {
  const quantized = [...weights.values()].filter((weight) => weight.kind === 'nf4');
  if (quantized.length === 0) return null;
  const dense = [...weights].filter(([name, weight]) => isMatrix(name) && weight.kind === 'dense');
  return {
    quant_method: 'bitsandbytes',
    load_in_4bit: true,
    load_in_8bit: false,
    bnb_4bit_quant_type: 'nf4',
    bnb_4bit_use_double_quant: quantized.some(({ absmax }) => !(absmax instanceof Float32Array)),
    bnb_4bit_compute_dtype: torchType[storage],
    bnb_4bit_quant_storage: 'uint8',
    llm_int8_skip_modules: ['lm_head', ...dense.map(([name]) => `transformer.${name.replace(/\.weight$/, '')}`)],
  };
}
