/** Shapes by name: GPT-2 as published, and GPT-2's blocks at the depths and widths of larger models, for plans of memory. */
import { isMatrix, weightShapes } from './checkpoint.ts';
import { type Gpt2Config, publishedConfigs } from './config.ts';

const large = { vocabSize: 50257, contextLength: 2048, epsilon: 1e-5 } as const;

/**
 * `gpt-7b` and `gpt-65b` have the layers, width and heads of LLaMA 7B and 65B (Touvron et al. 2023, table 2), `gpt-13b` those of
 * LLaMA 13B; `gpt-1b` is 18 layers of GPT-3 XL's width. Vocabulary and blocks are GPT-2's.
 */
export const namedShapes = {
  ...publishedConfigs,
  'gpt-1b': { ...large, width: 2048, layers: 18, heads: 16 },
  'gpt-7b': { ...large, width: 4096, layers: 32, heads: 32 },
  'gpt-13b': { ...large, width: 5120, layers: 40, heads: 40 },
  'gpt-65b': { ...large, width: 8192, layers: 80, heads: 64 },
} as const satisfies Readonly<Record<string, Gpt2Config>>;

export type ShapeName = keyof typeof namedShapes;

/** Every name, small to large. */
export const shapeNames = Object.keys(namedShapes) as readonly ShapeName[];

/** How many weights a model has, and how many of them are in the matrices of its blocks, which are what is quantized. */
export function parameterCounts(config: Gpt2Config): { readonly all: number; readonly matrices: number } {
  let all = 0;
  let matrices = 0;
  for (const [name, shape] of weightShapes(config)) {
    const count = shape.reduce((product, size) => product * size, 1);
    all += count;
    if (isMatrix(name)) matrices += count;
  }
  return { all, matrices };
}
