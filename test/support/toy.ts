/** A two-layer GPT-2 small enough for finite differences, with seeded weights and text. */
import { weightShapes } from '../../model/checkpoint.ts';
import type { Gpt2Config } from '../../model/config.ts';
import { roundToBfloat16 } from '../../model/float16.ts';
import type { Matrix } from '../../model/matrix.ts';
import { Random } from '../../model/random.ts';

export const toyConfig: Gpt2Config = {
  vocabSize: 23,
  contextLength: 12,
  width: 16,
  layers: 2,
  heads: 2,
  epsilon: 1e-5,
};

export const adamw = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01, maxNorm: 1 };
export const float32 = (): Matrix => ({ kind: 'dense', storage: 'float32' });

/** `count` normal numbers times `scale`. */
export function normals(count: number, scale: number, seed: number, stream = ''): Float32Array {
  const random = new Random(seed, stream);
  return Float32Array.from({ length: count }, () => random.normal() * scale);
}

/** Every weight of a toy model by name: gains near 1, everything else near 0; each a number that bf16 can hold. */
export function toyWeights(config = toyConfig, seed = 1): Map<string, Float32Array> {
  const weights = new Map<string, Float32Array>();
  for (const [name, shape] of weightShapes(config)) {
    const isGain = /ln_\w+\.weight$/.test(name);
    const values = normals(
      shape.reduce((a, b) => a * b, 1),
      0.2,
      seed,
      name,
    );
    weights.set(name, roundToBfloat16(isGain ? values.map((value) => value + 1) : values));
  }
  return weights;
}

/** Random text: tokens and positions [B, T] and the next token as target [B * T], the last row of each sequence having none. */
export function toyText(batch: number, length: number, vocabSize = toyConfig.vocabSize, seed = 5) {
  const random = new Random(seed, 'text');
  const tokens = Int32Array.from({ length: batch * length }, () => random.integer(vocabSize));
  const positions = tokens.map((_, i) => i % length);
  const targets = tokens.map((_, i) => (i % length === length - 1 ? -1 : tokens[i + 1]!));
  return { tokens, positions, targets };
}
