/** The affine map with a quantized weight, its gradient, and the dequantizations that it is made of. */
import { dequantize, nestedBlock } from '../nf4.ts';
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel, type Shape, sumOf } from './kernel.ts';

/** What a quantized matrix of n elements is in a program. */
export interface Nf4Weight {
  /** uint8 [n / 2]: two codes a byte, the even element in the high half. */
  readonly codes: Tensor;
  /** [n / block] */
  readonly absmax: Tensor;
  /** [16] */
  readonly codebook: Tensor;
}

type Operands<V> = Readonly<Record<'codes' | 'absmax' | 'codebook', V>>;

function expectWeight(
  kernel: string,
  { codes, absmax, codebook }: Operands<Shape>,
  elements: number,
  block: number,
): void {
  expectShape(kernel, 'codes', codes, [elements / 2]);
  expectShape(kernel, 'absmax', absmax, [elements / block]);
  expectShape(kernel, 'codebook', codebook, [16]);
}

/** The weight as float32 values that bf16 can hold. Rounding to bf16 is arithmetic on bits, which TF.js has not: it is done here. */
function weightOf({ codes, absmax, codebook }: Operands<Tensor>, shape: number[], block: number): Tensor {
  const values = dequantize({
    codes: new Uint8Array(codes.dataSync()),
    absmax: absmax.dataSync<'float32'>(),
    codebook: codebook.dataSync<'float32'>(),
    block,
  });
  return tf.tensor(values, shape);
}

export const nf4DequantizeKernel = defineKernel<{ shape: number[]; block: number }>()({
  name: 'Nf4Dequantize',
  operands: ['codes', 'absmax', 'codebook'],
  shape(shapes, { shape, block }) {
    expectWeight(
      'Nf4Dequantize',
      shapes,
      shape.reduce((a, b) => a * b, 1),
      block,
    );
    return [...shape];
  },
  composite: (operands, { shape, block }) => weightOf(operands, shape, block),
});

export const nf4MatMulKernel = defineKernel<{ outFeatures: number; block: number }>()({
  name: 'Nf4MatMul',
  operands: ['x', 'codes', 'absmax', 'codebook'],
  optional: ['bias', 'added'],
  shape({ x, bias, added, ...weight }, { outFeatures, block }) {
    expectWeight('Nf4MatMul', weight, outFeatures * x[1]!, block);
    if (bias !== undefined) expectShape('Nf4MatMul', 'bias', bias, [outFeatures]);
    if (added !== undefined) expectShape('Nf4MatMul', 'added', added, [x[0]!, outFeatures]);
    return [x[0]!, outFeatures];
  },
  composite: ({ x, bias, added, ...weight }, { outFeatures, block }) =>
    sumOf(tf.matMul(x, weightOf(weight, [outFeatures, x.shape[1]!], block), false, true), bias, added),
  gradient: {
    saves: ['x', 'codes', 'absmax', 'codebook'],
    of: (dy, { x, ...weight }, { block }) => ({
      x: () => runKernel(nf4MatMulBackwardInputKernel, { dy, ...weight }, { inFeatures: x.shape[1]!, block }),
    }),
  },
});

export const nf4MatMulBackwardInputKernel = defineKernel<{ inFeatures: number; block: number }>()({
  name: 'Nf4MatMulBackwardInput',
  operands: ['dy', 'codes', 'absmax', 'codebook'],
  optional: ['added'],
  shape({ dy, added, ...weight }, { inFeatures, block }) {
    expectWeight('Nf4MatMulBackwardInput', weight, dy[1]! * inFeatures, block);
    if (added !== undefined) expectShape('Nf4MatMulBackwardInput', 'added', added, [dy[0]!, inFeatures]);
    return [dy[0]!, inFeatures];
  },
  composite: ({ dy, added, ...weight }, { inFeatures, block }) =>
    sumOf(tf.matMul(dy, weightOf(weight, [dy.shape[1]!, inFeatures], block)), added),
});

export const dequantizeAbsmaxKernel = defineKernel<{ nestedBlock: number }>()({
  name: 'DequantizeAbsmax',
  operands: ['codes', 'nestedAbsmax', 'nestedCodebook', 'offset'],
  shape({ codes, nestedAbsmax, nestedCodebook, offset }, { nestedBlock }) {
    expectShape('DequantizeAbsmax', 'nestedAbsmax', nestedAbsmax, [Math.ceil(codes[0]! / nestedBlock)]);
    expectShape('DequantizeAbsmax', 'nestedCodebook', nestedCodebook, [256]);
    expectShape('DequantizeAbsmax', 'offset', offset, [1]);
    return [...codes];
  },
  composite({ codes, nestedAbsmax, nestedCodebook, offset }, { nestedBlock }) {
    const blockOf = Int32Array.from({ length: codes.size }, (_, i) => Math.floor(i / nestedBlock));
    const scales = tf.gather(nestedAbsmax, tf.tensor(blockOf, [codes.size], 'int32'));
    return tf.add(tf.mul(tf.gather(nestedCodebook, codes), scales), offset);
  },
  // One scale stands for `block` elements: kept from the forward to the backward pass, the scales would take back what
  // double quantization saves.
  recompute: true,
});

/** x [N, in], weight of [out, in] in blocks of `block`, bias [out] -> x Wᵀ + b [N, out]. No gradient for the weight. */
export function nf4MatMul(
  x: Tensor,
  weight: Nf4Weight,
  bias: Tensor | undefined,
  attributes: { outFeatures: number; block: number },
): Tensor {
  const operands = { x, codes: weight.codes, absmax: weight.absmax, codebook: weight.codebook };
  return runKernel(nf4MatMulKernel, bias === undefined ? operands : { ...operands, bias }, attributes);
}

/** The weight [shape] that a quantized matrix stands for, rounded to bf16. */
export function nf4Dequantize(weight: Nf4Weight, attributes: { shape: number[]; block: number }): Tensor {
  return runKernel(nf4DequantizeKernel, { ...weight }, attributes);
}

/**
 * The scales of a doubly quantized matrix: nestedCodebook[code] * nestedAbsmax[i / 256] + offset.
 * @param codes uint8 [n]
 * @param nestedAbsmax [ceil(n / 256)]
 * @param nestedCodebook [256]
 * @param offset [1]
 */
export function dequantizeAbsmax(codes: Tensor, nestedAbsmax: Tensor, nestedCodebook: Tensor, offset: Tensor): Tensor {
  return runKernel(dequantizeAbsmaxKernel, { codes, nestedAbsmax, nestedCodebook, offset }, { nestedBlock });
}
