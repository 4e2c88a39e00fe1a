/** NormalFloat quantization in blocks, single and double (QLoRA: Dettmers et al. 2023, section 3): the reference, in plain code. */
import { roundToBfloat16 } from './float16.ts';
import { type Bits, dynamicMap, normalFloatCodebook } from './nf4_codebooks.ts';

/** Elements of absmax that share one nested scale, under double quantization. */
export const nestedBlock = 256;

/** Widths whose codes are stored four bits wide. Codes of 8 bits are not stored: their matrices are quantized by value. */
export type PackedBits = Exclude<Bits, 8>;

/** A quantized matrix. Codes are four bits wide whatever the codebook's size: two a byte, the even element in the high half. */
export interface Quantized {
  /** [n / 2] */
  readonly codes: Uint8Array;
  /** The largest magnitude of each block: [n / block] */
  readonly absmax: Float32Array;
  /** [16]; the entries after the first 2^bits are zero and no code names them. */
  readonly codebook: Float32Array;
  readonly block: number;
}

/** The scales of a quantized matrix, quantized again. */
export interface QuantizedAbsmax {
  /** [n] */
  readonly codes: Uint8Array;
  /** [ceil(n / 256)] */
  readonly nestedAbsmax: Float32Array;
  /** [256] */
  readonly nestedCodebook: Float32Array;
  /** The mean of the scales, which was subtracted before they were quantized. */
  readonly offset: number;
}

/**
 * Quantizes a matrix: each block is divided by its largest magnitude and each element becomes the nearest entry of the
 * codebook, a tie going to the lower entry. A block of zeros is zeros.
 * @param weights [out, in], row by row; blocks of `block` run along the input dimension.
 * @throws Error if an element is not finite, or if blocks do not fill the matrix evenly.
 */
export function quantize(weights: Float32Array, block: number, bits: PackedBits = 4): Quantized {
  const entries = normalFloatCodebook(bits);
  const codebook = new Float32Array(16);
  codebook.set(entries);
  const wide = nearestCodes(weights, block, entries);
  const codes = new Uint8Array(weights.length / 2);
  for (let i = 0; i < codes.length; i++) codes[i] = (wide.codes[2 * i]! << 4) | wide.codes[2 * i + 1]!;
  return { codes, absmax: wide.absmax, codebook, block };
}

/**
 * What a matrix is after quantization to any width and back: the values of `dequantize`, without codes.
 * @param doubleQuantization whether the scales are quantized too.
 * @throws Error as `quantize`.
 */
export function quantizedValues(
  weights: Float32Array,
  block: number,
  bits: Bits,
  doubleQuantization: boolean,
): Float32Array {
  const entries = normalFloatCodebook(bits);
  const { codes, absmax } = nearestCodes(weights, block, entries);
  const scales = doubleQuantization ? dequantizeAbsmax(quantizeAbsmax(absmax)) : absmax;
  return roundToBfloat16(Float32Array.from(codes, (code, i) => entries[code]! * scales[Math.floor(i / block)]!));
}

/** The bytes of a quantized matrix in its packed format: codes of `bits` bits, and the scales; codebooks aside. */
export function packedBytes(weights: number, block: number, bits: Bits, doubleQuantization: boolean): number {
  const scales = weights / block;
  return (weights * bits) / 8 + (doubleQuantization ? scales + 4 * Math.ceil(scales / nestedBlock) : 4 * scales);
}

/** Scales of the blocks, and the nearest entry of each element: one code a byte. */
function nearestCodes(
  weights: Float32Array,
  block: number,
  entries: Float32Array,
): { readonly codes: Uint8Array; readonly absmax: Float32Array } {
  if (!Number.isInteger(block) || block < 2 || block % 2 !== 0 || weights.length % block !== 0) {
    throw new Error(
      `quantize: a block of ${block} does not fit ${weights.length} elements: the block must be even and divide them`,
    );
  }
  const codes = new Uint8Array(weights.length);
  const absmax = new Float32Array(weights.length / block);
  for (let b = 0; b < absmax.length; b++) {
    const start = b * block;
    absmax[b] = largestMagnitude(weights, start, start + block);
    for (let i = start; i < start + block; i++) codes[i] = nearest(entries, scaled(weights[i]!, absmax[b]!));
  }
  return { codes, absmax };
}

/** Each element's codebook entry times its block's scale, in float32, rounded once to bf16. */
export function dequantize({ codes, absmax, codebook, block }: Quantized): Float32Array {
  const weights = new Float32Array(codes.length * 2);
  for (let b = 0; b < absmax.length; b++) {
    const scale = absmax[b]!;
    for (let i = b * block; i < (b + 1) * block; i += 2) {
      const pair = codes[i >>> 1]!;
      weights[i] = codebook[pair >>> 4]! * scale;
      weights[i + 1] = codebook[pair & 15]! * scale;
    }
  }
  return roundToBfloat16(weights);
}

/**
 * Quantizes the scales to eight bits: their mean is subtracted, then each block of 256 is divided by its largest
 * magnitude and each becomes the nearest entry of the signed dynamic map, a tie going to the lower entry.
 * @throws Error if a scale is not finite.
 */
export function quantizeAbsmax(absmax: Float32Array): QuantizedAbsmax {
  const bad = absmax.findIndex((scale) => !Number.isFinite(scale));
  if (bad !== -1)
    throw new Error(`quantizeAbsmax: scale ${bad} is ${absmax[bad]}: only finite numbers can be quantized`);
  const nestedCodebook = dynamicMap();
  const offset = Math.fround(absmax.reduce((sum, scale) => sum + scale, 0) / Math.max(absmax.length, 1));
  const centered = absmax.map((scale) => scale - offset);
  const codes = new Uint8Array(absmax.length);
  const nestedAbsmax = new Float32Array(Math.ceil(absmax.length / nestedBlock));
  for (let b = 0; b < nestedAbsmax.length; b++) {
    const end = Math.min((b + 1) * nestedBlock, absmax.length);
    nestedAbsmax[b] = largestMagnitude(centered, b * nestedBlock, end);
    for (let i = b * nestedBlock; i < end; i++)
      codes[i] = nearest(nestedCodebook, scaled(centered[i]!, nestedAbsmax[b]!));
  }
  return { codes, nestedAbsmax, nestedCodebook, offset };
}

/** The scales again: nested entry times nested scale, plus the offset, each operation rounded to float32. */
export function dequantizeAbsmax({ codes, nestedAbsmax, nestedCodebook, offset }: QuantizedAbsmax): Float32Array {
  return Float32Array.from(
    codes,
    (code, i) => Math.fround(nestedCodebook[code]! * nestedAbsmax[Math.floor(i / nestedBlock)]!) + offset,
  );
}

function largestMagnitude(values: Float32Array, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) {
    const magnitude = Math.abs(values[i]!);
    if (!Number.isFinite(magnitude))
      throw new Error(`quantize: element ${i} is ${values[i]}: only finite numbers can be quantized`);
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

/** value / scale in float32; 0 in a block of zeros. */
function scaled(value: number, scale: number): number {
  return scale === 0 ? 0 : Math.fround(value / scale);
}

/** Index of the entry nearest to `value` in an ascending codebook; of two equally near, the lower. */
function nearest(codebook: Float32Array, value: number): number {
  let low = 0;
  let high = codebook.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    // The sum of two float32 numbers is exact in float64, and so is the comparison with twice the value.
    if (2 * value <= codebook[middle]! + codebook[middle + 1]!) high = middle;
    else low = middle + 1;
  }
  return low;
}
