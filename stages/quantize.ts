/** Stage: writes a base as training will see it: in 16 bits, or with chosen matrices in NormalFloat of a few bits. */
import { writeFileSync } from 'node:fs';
import { defineStage, StageError } from '../engine/stage.ts';
import {
  type Checkpoint,
  copyTokenizer,
  type DenseWeight,
  readCheckpoint,
  writeCheckpoint,
} from '../model/checkpoint.ts';
import { roundToBfloat16 } from '../model/float16.ts';
import { type FamilyRows, familyRows } from '../model/gpt2.ts';
import { dequantize, dequantizeAbsmax, type Quantized, quantize, quantizeAbsmax } from '../model/nf4.ts';
import { type CheckpointWeight, writeQuantizedCheckpoint } from '../model/quantized_checkpoint.ts';

import { refusingBadInput } from './shared/bad_input.ts';
import { parseTargets } from './shared/targets.ts';

export default defineStage({
  description: 'Rounds a checkpoint to 16 bits, or quantizes chosen matrices to NormalFloat (QLoRA, section 3).',
  params: {
    precision: { type: 'string', enum: ['bf16', 'nf4'], default: 'nf4', description: 'bf16 quantizes nothing.' },
    matrices: {
      type: 'string',
      default: 'all',
      description: 'Families to quantize: q, k, v, o, fc, proj, attention, mlp or all, joined with +.',
    },
    layers: {
      type: 'string',
      pattern: '^(all|\\d+(,\\d+)*)$',
      default: 'all',
      description: 'Layers to quantize, from 0, joined with commas, or all.',
    },
    bits: { type: 'integer', enum: [2, 3, 4], default: 4, description: 'Bits of a code.' },
    block: { type: 'integer', minimum: 2, default: 64, description: 'Weights that share one scale.' },
    double_quantization: { type: 'boolean', default: true, description: 'Quantize the scales too, to 8 bits.' },
  },
  inputs: { base: { description: 'Checkpoint folder.' } },
  outputs: {
    model: { path: 'model', description: 'Checkpoint folder; quantized matrices in the layout of bitsandbytes.' },
    summary: { path: 'summary.json', description: 'Weights quantized, and the relative error of each matrix.' },
  },
  async run({ params, inputs, outputs, log, progress }) {
    const base = await refusingBadInput(() => readCheckpoint(inputs.base));
    copyTokenizer(inputs.base, outputs.model);
    const chosen = params.precision === 'bf16' ? [] : chosenRows(base, params);
    const weights = new Map<string, CheckpointWeight>();
    const errors: Record<string, number> = {};
    let quantizedWeights = 0;
    for (const [i, [name, weight]] of [...base.weights].entries()) {
      progress(i, base.weights.size);
      const sites = chosen.filter(({ matrix }) => `${matrix}.weight` === name);
      if (sites.length === 0) {
        weights.set(name, weight);
        continue;
      }
      const { replacement, error, count } = quantizeRows(name, weight, sites, params);
      weights.set(name, replacement);
      errors[name] = error;
      quantizedWeights += count;
    }
    if (quantizedWeights === 0) writeCheckpoint(outputs.model, base, 'BF16');
    else writeQuantizedCheckpoint(outputs.model, { config: base.config, weights });
    log(`${quantizedWeights} weights of ${Object.keys(errors).length} matrices quantized`);
    writeFileSync(outputs.summary, `${JSON.stringify({ quantizedWeights, relativeErrors: errors }, null, 2)}\n`);
  },
});

interface Options {
  readonly matrices: string;
  readonly layers: string;
  readonly bits: 2 | 3 | 4;
  readonly block: number;
  readonly double_quantization: boolean;
}

function chosenRows({ config }: Checkpoint, { matrices, layers }: Options): FamilyRows[] {
  const all = familyRows(config, parseTargets(matrices));
  if (layers === 'all') return all;
  const wanted = new Set(layers.split(',').map(Number));
  for (const layer of wanted) {
    if (layer >= config.layers) {
      throw new StageError(`layers names ${layer}, and the model's layers are 0 to ${config.layers - 1}`);
    }
  }
  return all.filter(({ layer }) => wanted.has(layer));
}

/**
 * Quantizes the given rows of a matrix. A matrix that is quantized whole is stored as codes. One of which other families
 * stay in 16 bits (q without k and v) is stored in 16 bits, its quantized rows holding the dequantized values: what it
 * computes is the same to the bit, because dequantized weights are bf16 numbers.
 */
function quantizeRows(
  name: string,
  weight: DenseWeight,
  sites: readonly FamilyRows[],
  { bits, block, double_quantization }: Options,
): { replacement: CheckpointWeight; error: number; count: number } {
  const [outFeatures, inFeatures] = weight.shape as [number, number];
  if (inFeatures % block !== 0 || block % 2 !== 0) {
    throw new StageError(
      `blocks of ${block} do not divide the ${inFeatures} inputs of ${name}: choose an even block that does`,
    );
  }
  // Weights are 16-bit numbers before they are quantized, as the 16-bit base that they are compared with holds them.
  const source = roundToBfloat16(weight.data);
  const rows = sites.reduce((sum, { width }) => sum + width, 0);
  if (rows === outFeatures) {
    const quantized = quantizeAll(source, block, bits, double_quantization);
    const error = relativeError(source, dequantizeAll(quantized));
    return { replacement: { kind: 'nf4', shape: weight.shape, ...quantized }, error, count: source.length };
  }
  const data = source.slice();
  for (const { offset, width } of sites) {
    const [start, end] = [offset * inFeatures, (offset + width) * inFeatures];
    data.set(dequantizeAll(quantizeAll(source.slice(start, end), block, bits, double_quantization)), start);
  }
  const error = relativeError(source, data);
  return { replacement: { kind: 'dense', shape: weight.shape, data }, error, count: rows * inFeatures };
}

type Scaled = Omit<Quantized, 'absmax'> & { readonly absmax: Float32Array | ReturnType<typeof quantizeAbsmax> };

function quantizeAll(weights: Float32Array, block: number, bits: 2 | 3 | 4, doubleQuantization: boolean): Scaled {
  const quantized = quantize(weights, block, bits);
  return doubleQuantization ? { ...quantized, absmax: quantizeAbsmax(quantized.absmax) } : quantized;
}

function dequantizeAll({ absmax, ...rest }: Scaled): Float32Array {
  return dequantize({ ...rest, absmax: absmax instanceof Float32Array ? absmax : dequantizeAbsmax(absmax) });
}

/** |approximation - weights| / |weights|, in the Frobenius norm. */
function relativeError(weights: Float32Array, approximation: Float32Array): number {
  let difference = 0;
  let size = 0;
  weights.forEach((w, i) => {
    difference += (approximation[i]! - w) ** 2;
    size += w ** 2;
  });
  return size === 0 ? 0 : Math.sqrt(difference / size);
}
