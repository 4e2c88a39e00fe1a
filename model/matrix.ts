/** A frozen matrix as a program stores it: 16 or 32 bits, or NormalFloat codes with their scales. */

import type { Gpt2Weights, Linear } from './gpt2.ts';
import { linear } from './kernels/linear.ts';
import { dequantizeAbsmax, nf4MatMul } from './kernels/nf4_matmul.ts';
import { nestedBlock } from './nf4.ts';
import type { Scope } from './scope.ts';
import type { Tensor } from './tf.ts';

/** How a matrix is stored. 2- and 3-bit codebooks are stored as `nf4` too: only the codebook's content differs. */
export type Matrix =
  | { readonly kind: 'dense'; readonly storage: 'bf16' | 'float32' }
  | { readonly kind: 'nf4'; readonly block: number; readonly doubleQuantization: boolean };

/** How each of a model's matrices is stored, by its name without `.weight`: `h.0.attn.c_attn`. */
export type Matrices = (name: string) => Matrix;

/** Names of what a quantized matrix is made of, each with `NAME.weight` before it; the codes bear the bare name. */
export const nf4Parts = {
  /** [n / block], or its uint8 codes under double quantization. */
  absmax: '.absmax',
  /** [16] */
  codebook: '.quant_map',
  /** [ceil(n / block / 256)] */
  nestedAbsmax: '.nested_absmax',
  /** [256] */
  nestedCodebook: '.nested_quant_map',
  /** [1] */
  offset: '.nested_offset',
} as const;

/** The weights of a model that is not trained. What is no matrix is stored as bf16. */
export function frozenWeights(scope: Scope, matrices: Matrices): Gpt2Weights {
  const tensor = (name: string, shape: readonly number[]) => scope.weight(name, shape, 'bf16', 'weights');
  return {
    tensor,
    linear(name, outFeatures, inFeatures) {
      const matrix = matrices(name);
      const bias = tensor(`${name}.bias`, [outFeatures]);
      if (matrix.kind === 'nf4') return quantizedLinear(scope, `${name}.weight`, bias, outFeatures, inFeatures, matrix);
      const weight = scope.weight(`${name}.weight`, [outFeatures, inFeatures], matrix.storage, 'weights');
      return (x) => linear(x, weight, bias);
    },
  };
}

function quantizedLinear(
  scope: Scope,
  name: string,
  bias: Tensor,
  outFeatures: number,
  inFeatures: number,
  { block, doubleQuantization }: Extract<Matrix, { kind: 'nf4' }>,
): Linear {
  if (inFeatures % block !== 0) {
    throw new Error(
      `'${name}' has ${inFeatures} inputs, which blocks of ${block} do not divide: choose a block that does`,
    );
  }
  const elements = outFeatures * inFeatures;
  const codes = scope.weight(name, [elements / 2], 'uint8', 'weights');
  const codebook = scope.weight(name + nf4Parts.codebook, [16], 'float32', 'weights');
  const absmax = doubleQuantization
    ? nestedScales(scope, name, elements / block)
    : always(scope.weight(name + nf4Parts.absmax, [elements / block], 'float32', 'weights'));
  return (x) => nf4MatMul(x, { codes, absmax: absmax(), codebook }, bias, { outFeatures, block });
}

/** The scales of a doubly quantized matrix, computed when they are asked for. */
function nestedScales(scope: Scope, name: string, count: number): () => Tensor {
  const codes = scope.weight(name + nf4Parts.absmax, [count], 'uint8', 'weights');
  const scales = scope.weight(name + nf4Parts.nestedAbsmax, [Math.ceil(count / nestedBlock)], 'float32', 'weights');
  const codebook = scope.weight(name + nf4Parts.nestedCodebook, [256], 'float32', 'weights');
  const offset = scope.weight(name + nf4Parts.offset, [1], 'float32', 'weights');
  return () => dequantizeAbsmax(codes, scales, codebook, offset);
}

function always<T>(value: T): () => T {
  return () => value;
}
