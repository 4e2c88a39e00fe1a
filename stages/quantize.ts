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
import { type Family, type FamilyRows, familyRows } from '../model/gpt2.ts';
import {
  dequantize,
  dequantizeAbsmax,
  type PackedBits,
  packedBytes,
  quantizeAbsmax,
  quantizedValues,
} from '../model/nf4.ts';
import type { Bits } from '../model/nf4_codebooks.ts';
import { type CheckpointWeight, writeQuantizedCheckpoint } from '../model/quantized_checkpoint.ts';

import { readChoice } from './choose-bits/choice.ts';
import { Quantizer } from './quantize/quantizer.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { parseTargets } from './shared/targets.ts';

export default defineStage({
  description: 'Rounds a checkpoint to 16 bits, or quantizes chosen matrices to NormalFloat (QLoRA, section 3).',
  accelerated: true,
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
    bits: {
      type: 'integer',
      enum: [2, 3, 4, 8],
      default: 4,
      description: 'Bits of a code, unless `choice` says otherwise.',
    },
    block: { type: 'integer', minimum: 2, default: 64, description: 'Weights that share one scale.' },
    double_quantization: { type: 'boolean', default: true, description: 'Quantize the scales too, to 8 bits.' },
  },
  inputs: {
    base: { description: 'Checkpoint folder.' },
    choice: { optional: true, description: 'Bits of each family (stage choose-bits); it decides for those it names.' },
  },
  outputs: {
    model: { path: 'model', description: 'Checkpoint folder; quantized matrices in the layout of bitsandbytes.' },
    summary: {
      path: 'summary.json',
      description: 'Weights quantized, the relative error of each matrix, and the bytes of the packed format.',
    },
  },
  async run(context) {
    const { params, inputs, outputs, log, progress } = context;
    const base = await refusingBadInput(() => readCheckpoint(inputs.base));
    copyTokenizer(inputs.base, outputs.model);
    const choice = inputs.choice === undefined ? null : readChoice(inputs.choice);
    const chosen = params.precision === 'bf16' ? [] : chosenRows(base, params, choice);
    const weights = new Map<string, CheckpointWeight>();
    const errors: Record<string, number> = {};
    const quantizer = new Quantizer(context);
    let quantizedWeights = 0;
    let bytes = 0;
    let codeBits = 0;
    for (const [i, [name, weight]] of [...base.weights].entries()) {
      progress(i, base.weights.size);
      const sites = chosen.filter(({ matrix }) => `${matrix}.weight` === name);
      bytes += 2 * weight.data.length;
      if (sites.length === 0) {
        weights.set(name, weight);
        continue;
      }
      const { replacement, error } = await quantizeRows(name, weight, sites, params, quantizer);
      weights.set(name, replacement);
      errors[name] = error;
      for (const { width, inFeatures, bits } of sites) {
        const count = width * inFeatures;
        quantizedWeights += count;
        codeBits += bits * count;
        bytes += packedBytes(count, params.block, bits, params.double_quantization) - 2 * count;
      }
    }
    quantizer.dispose();
    if (quantizedWeights === 0) writeCheckpoint(outputs.model, base, 'BF16');
    else writeQuantizedCheckpoint(outputs.model, { config: base.config, weights });
    log(`${quantizedWeights} weights of ${Object.keys(errors).length} matrices quantized`);
    const summary = {
      quantizedWeights,
      relativeErrors: errors,
      packedBytes: bytes,
      meanBits: quantizedWeights === 0 ? 16 : codeBits / quantizedWeights,
    };
    writeFileSync(outputs.summary, `${JSON.stringify(summary, null, 2)}\n`);
  },
});

interface Options {
  readonly matrices: string;
  readonly layers: string;
  readonly bits: Bits;
  readonly block: number;
  readonly double_quantization: boolean;
}

/** Rows of a matrix that are quantized to one width. */
interface Site extends FamilyRows {
  readonly bits: Bits;
}

function chosenRows(
  { config }: Checkpoint,
  { matrices, layers, bits }: Options,
  choice: Partial<Readonly<Record<Family, Bits>>> | null,
): Site[] {
  const all = familyRows(config, parseTargets(matrices)).map((rows) => ({
    ...rows,
    bits: choice?.[rows.family] ?? bits,
  }));
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
 * Quantizes the given rows of a matrix. A matrix that is quantized whole, to one width of at most four bits, is stored as
 * codes. Any other (q without k and v, rows of two widths, 8 bits) is stored in 16 bits, its quantized rows holding the
 * dequantized values: what it computes is the same to the bit, because dequantized weights are bf16 numbers.
 */
async function quantizeRows(
  name: string,
  weight: DenseWeight,
  sites: readonly Site[],
  { block, double_quantization: doubly }: Options,
  quantizer: Quantizer,
): Promise<{ replacement: CheckpointWeight; error: number }> {
  const [outFeatures, inFeatures] = weight.shape as [number, number];
  if (inFeatures % block !== 0 || block % 2 !== 0) {
    throw new StageError(
      `blocks of ${block} do not divide the ${inFeatures} inputs of ${name}: choose an even block that does`,
    );
  }
  // Weights are 16-bit numbers before they are quantized, as the 16-bit base that they are compared with holds them.
  const source = roundToBfloat16(weight.data);
  const bad = source.findIndex((value) => !Number.isFinite(value));
  if (bad !== -1) {
    throw new StageError(`element ${bad} of ${name} is ${source[bad]}: only finite weights can be quantized`);
  }
  const inCodes = async (rows: Float32Array, bits: PackedBits) => {
    const codes = await quantizer.quantize(rows, block, bits);
    const nested = doubly ? quantizeAbsmax(codes.absmax) : null;
    const values = dequantize({ ...codes, absmax: nested === null ? codes.absmax : dequantizeAbsmax(nested) });
    return { codes: { ...codes, absmax: nested ?? codes.absmax }, values };
  };
  const { bits } = sites[0]!;
  const rows = sites.reduce((sum, { width }) => sum + width, 0);
  const whole = rows === outFeatures && sites.every((site) => site.bits === bits);
  if (whole && bits !== 8) {
    const { codes, values } = await inCodes(source, bits);
    return { replacement: { kind: 'nf4', shape: weight.shape, ...codes }, error: relativeError(source, values) };
  }
  const data = source.slice();
  // Rows of one width together, so that all their scales are quantized together, as they are in codes.
  for (const { offset, width, bits: each } of whole ? [{ offset: 0, width: outFeatures, bits }] : sites) {
    const [start, end] = [offset * inFeatures, (offset + width) * inFeatures];
    const part = source.slice(start, end);
    data.set(each === 8 ? quantizedValues(part, block, each, doubly) : (await inCodes(part, each)).values, start);
  }
  return { replacement: { kind: 'dense', shape: weight.shape, data }, error: relativeError(source, data) };
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
