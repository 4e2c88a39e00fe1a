/** Every named kernel, for those who implement or trace them all. */
import { adamWMeanKernel, adamWUpdateKernel, adamWVarianceKernel, globalNormKernel } from './adamw.ts';
import { causalAttentionBackwardKernel, causalAttentionKernel } from './attention.ts';
import { cachedAttentionKernel, cacheWriteKernel } from './cache.ts';
import { columnSumKernel } from './column_sum.ts';
import { compareLogitsKernel } from './compare_logits.ts';
import {
  crossEntropyBackwardHiddenKernel,
  crossEntropyBackwardTableKernel,
  crossEntropyKernel,
  tokenLogProbKernel,
} from './cross_entropy.ts';
import { dropoutKernel } from './dropout.ts';
import { embeddingBackwardKernel, embeddingKernel } from './embedding.ts';
import { geluBackwardKernel, geluKernel } from './gelu.ts';
import type { AnyKernel } from './kernel.ts';
import { layerNormBackwardGainKernel, layerNormBackwardInputKernel, layerNormKernel } from './layer_norm.ts';
import { linearBackwardInputKernel, linearBackwardWeightKernel, linearKernel } from './linear.ts';
import {
  loraBackwardAKernel,
  loraBackwardBKernel,
  loraBackwardHiddenKernel,
  loraBackwardInputKernel,
  loraHiddenKernel,
  loraUpdateKernel,
} from './lora.ts';
import {
  dequantizeAbsmaxKernel,
  nf4DequantizeKernel,
  nf4MatMulBackwardInputKernel,
  nf4MatMulKernel,
} from './nf4_matmul.ts';
import { nf4AbsmaxKernel, nf4CodesKernel } from './nf4_quantize.ts';

/** All kernels, forward and backward, in the order of a step: layers, loss, optimizer; last, evaluation. */
export const kernels: readonly AnyKernel[] = [
  embeddingKernel,
  embeddingBackwardKernel,
  layerNormKernel,
  layerNormBackwardInputKernel,
  layerNormBackwardGainKernel,
  linearKernel,
  linearBackwardInputKernel,
  linearBackwardWeightKernel,
  columnSumKernel,
  nf4MatMulKernel,
  nf4MatMulBackwardInputKernel,
  nf4DequantizeKernel,
  dequantizeAbsmaxKernel,
  nf4AbsmaxKernel,
  nf4CodesKernel,
  loraHiddenKernel,
  loraUpdateKernel,
  loraBackwardHiddenKernel,
  loraBackwardBKernel,
  loraBackwardAKernel,
  loraBackwardInputKernel,
  dropoutKernel,
  causalAttentionKernel,
  causalAttentionBackwardKernel,
  cacheWriteKernel,
  cachedAttentionKernel,
  geluKernel,
  geluBackwardKernel,
  crossEntropyKernel,
  crossEntropyBackwardHiddenKernel,
  crossEntropyBackwardTableKernel,
  tokenLogProbKernel,
  globalNormKernel,
  adamWMeanKernel,
  adamWVarianceKernel,
  adamWUpdateKernel,
  compareLogitsKernel,
];
