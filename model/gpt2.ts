/** GPT-2 (Radford et al. 2019), with the names of Hugging Face's checkpoints, and the families that its matrices fall into. */
import type { Gpt2Config } from './config.ts';
import { causalAttention } from './kernels/attention.ts';
import { embedding } from './kernels/embedding.ts';
import { gelu } from './kernels/gelu.ts';
import { layerNorm } from './kernels/layer_norm.ts';
import { linear } from './kernels/linear.ts';
import { type Tensor, tf } from './tf.ts';

/** An affine map of rows: [N, in] -> [N, out]. */
export type Linear = (x: Tensor) => Tensor;

/** Where the model gets its weights from: frozen or trained, 16 or 4 bits, with adapters or without is decided there. */
export interface Gpt2Weights {
  /** An embedding, gain or bias by its full name. */
  tensor(name: string, shape: readonly number[]): Tensor;
  /** The map of `name`.weight [out, in] and `name`.bias [out]. */
  linear(name: string, outFeatures: number, inFeatures: number): Linear;
}

interface Norm {
  readonly weight: Tensor; // [C]
  readonly bias: Tensor; // [C]
}

interface Block {
  readonly ln_1: Norm;
  readonly attn: { readonly c_attn: Linear; readonly c_proj: Linear };
  readonly ln_2: Norm;
  readonly mlp: { readonly c_fc: Linear; readonly c_proj: Linear };
}

/** A GPT-2 with its weights in place. */
export interface Gpt2 {
  readonly config: Gpt2Config;
  readonly wte: Tensor; // [V, C]
  readonly wpe: Tensor; // [P, C]
  readonly h: readonly Block[];
  readonly ln_f: Norm;
}

/** Mixes positions within each sequence of a layer: fused queries, keys and values [B, T, 3C] -> [B, T, C]. */
export type Attention = (qkv: Tensor, layer: number) => Tensor;

/** Asks for every weight of a GPT-2, in the order in which it uses them. */
export function gpt2(config: Gpt2Config, weights: Gpt2Weights): Gpt2 {
  const { width: C, vocabSize, contextLength, layers } = config;
  const norm = (name: string): Norm => ({
    weight: weights.tensor(`${name}.weight`, [C]),
    bias: weights.tensor(`${name}.bias`, [C]),
  });
  const block = (name: string): Block => ({
    ln_1: norm(`${name}.ln_1`),
    attn: {
      c_attn: weights.linear(`${name}.attn.c_attn`, 3 * C, C),
      c_proj: weights.linear(`${name}.attn.c_proj`, C, C),
    },
    ln_2: norm(`${name}.ln_2`),
    mlp: {
      c_fc: weights.linear(`${name}.mlp.c_fc`, 4 * C, C),
      c_proj: weights.linear(`${name}.mlp.c_proj`, C, 4 * C),
    },
  });
  return {
    config,
    wte: weights.tensor('wte.weight', [vocabSize, C]),
    wpe: weights.tensor('wpe.weight', [contextLength, C]),
    h: Array.from({ length: layers }, (_, layer) => block(`h.${layer}`)),
    ln_f: norm('ln_f'),
  };
}

/**
 * The model up to its last layer norm. Rows are positions: B sequences of T tokens are N = B * T rows.
 * @param tokens int32 [B, T]
 * @param positions int32 [B, T]: each token's place in its sequence.
 * @returns [N, C]
 */
export function hiddenStates(model: Gpt2, tokens: Tensor, positions: Tensor, attention = causal(model)): Tensor {
  const { config, wte, wpe, h, ln_f } = model;
  const [B, T] = tokens.shape as [number, number];
  const { width: C } = config;

  const embedded = tf.add(embedding(wte, tokens), embedding(wpe, positions)); // [B, T, C]
  let x: Tensor = tf.reshape(embedded, [B * T, C]); // [N, C]
  h.forEach(({ ln_1, attn, ln_2, mlp }, layer) => {
    const qkv = attn.c_attn(normalize(x, ln_1, config)); // [N, 3C]
    const mixed = attention(tf.reshape(qkv, [B, T, 3 * C]), layer); // [B, T, C]
    x = tf.add(x, attn.c_proj(tf.reshape(mixed, [B * T, C]))); // [N, C]
    const wide = gelu(mlp.c_fc(normalize(x, ln_2, config))); // [N, 4C]
    x = tf.add(x, mlp.c_proj(wide)); // [N, C]
  });
  return normalize(x, ln_f, config);
}

/** Scores of every token of the vocabulary for what comes after each row: hidden [N, C] -> logits [N, V]. */
export function logits(model: Gpt2, hidden: Tensor): Tensor {
  return linear(hidden, model.wte);
}

/** Each position attends to itself and those before it. */
function causal({ config }: Gpt2): Attention {
  return (qkv) => causalAttention(qkv, config.heads);
}

function normalize(x: Tensor, { weight, bias }: Norm, { epsilon }: Gpt2Config): Tensor {
  return layerNorm(x, weight, bias, epsilon);
}

/** The matrices of a block by what they do: queries, keys and values (thirds of `c_attn`), attention's output, the MLP's two maps. */
export const families = ['q', 'k', 'v', 'o', 'fc', 'proj'] as const;
export type Family = (typeof families)[number];

/** The maps of a block, in the order in which it applies them. */
export const matrices = ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'] as const;

/** Where each family lies: a matrix, the rows of it (in widths: offset, width), and its input (in widths). */
const places = {
  q: { matrix: 'attn.c_attn', offset: 0, width: 1, input: 1 },
  k: { matrix: 'attn.c_attn', offset: 1, width: 1, input: 1 },
  v: { matrix: 'attn.c_attn', offset: 2, width: 1, input: 1 },
  o: { matrix: 'attn.c_proj', offset: 0, width: 1, input: 1 },
  fc: { matrix: 'mlp.c_fc', offset: 0, width: 4, input: 1 },
  proj: { matrix: 'mlp.c_proj', offset: 0, width: 1, input: 4 },
} as const satisfies Record<
  Family,
  { matrix: (typeof matrices)[number]; offset: number; width: number; input: number }
>;

/** The rows of one matrix, [out, in], that belong to a family: `offset` .. `offset + width` of its outputs. */
export interface FamilyRows {
  readonly layer: number;
  readonly family: Family;
  /** `h.0.attn.c_attn` */
  readonly matrix: string;
  readonly offset: number;
  readonly width: number;
  readonly inFeatures: number;
}

/** The rows of the given families, by layer and then in the order of `families`, whatever the order they are asked for in. */
export function familyRows(config: Gpt2Config, wanted: readonly Family[]): FamilyRows[] {
  const chosen = families.filter((family) => wanted.includes(family));
  return Array.from({ length: config.layers }, (_, layer) =>
    chosen.map((family) => {
      const { matrix, offset, width, input } = places[family];
      return {
        layer,
        family,
        matrix: `h.${layer}.${matrix}`,
        offset: offset * config.width,
        width: width * config.width,
        inFeatures: input * config.width,
      };
    }),
  ).flat();
}
