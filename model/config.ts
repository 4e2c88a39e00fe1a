/** The shape of a GPT-2: its sizes under their common names, and the form they have in a Hugging Face config.json. */
import { FormatError } from './format_error.ts';

/** Sizes of a GPT-2 (Radford et al., 2019). The MLP's hidden width is four times `width`. */
export interface Gpt2Config {
  /** Rows of the token embedding (`vocab_size`). */
  readonly vocabSize: number;
  /** Rows of the position embedding (`n_positions`). */
  readonly contextLength: number;
  /** Channels of the residual stream (`n_embd`). */
  readonly width: number;
  /** Transformer blocks (`n_layer`). */
  readonly layers: number;
  /** Attention heads (`n_head`); divides `width`. */
  readonly heads: number;
  /** Added to the variance in a layer norm (`layer_norm_epsilon`). */
  readonly epsilon: number;
}

/** The published sizes of GPT-2. */
export const publishedConfigs = {
  gpt2: { vocabSize: 50257, contextLength: 1024, width: 768, layers: 12, heads: 12, epsilon: 1e-5 },
  'gpt2-medium': { vocabSize: 50257, contextLength: 1024, width: 1024, layers: 24, heads: 16, epsilon: 1e-5 },
  'gpt2-large': { vocabSize: 50257, contextLength: 1024, width: 1280, layers: 36, heads: 20, epsilon: 1e-5 },
  'gpt2-xl': { vocabSize: 50257, contextLength: 1024, width: 1600, layers: 48, heads: 25, epsilon: 1e-5 },
} as const satisfies Readonly<Record<string, Gpt2Config>>;

/**
 * Reads the sizes out of a parsed config.json.
 * @throws FormatError for another kind of model, a missing or impossible size, or an option that changes what the model computes.
 */
export function parseConfig(json: unknown, path: string): Gpt2Config {
  const given = json as Record<string, unknown>;
  if (typeof json !== 'object' || json === null) throw new FormatError(path, 'a JSON object is expected');
  if (given.model_type !== 'gpt2') {
    throw new FormatError(path, `model_type is ${JSON.stringify(given.model_type)}; only 'gpt2' is supported`);
  }
  const size = (key: string): number => {
    const value = given[key];
    if (!Number.isSafeInteger(value) || (value as number) < 1) {
      throw new FormatError(path, `${key} is ${JSON.stringify(value)}; a positive integer is expected`);
    }
    return value as number;
  };
  const config = {
    vocabSize: size('vocab_size'),
    contextLength: size('n_positions'),
    width: size('n_embd'),
    layers: size('n_layer'),
    heads: size('n_head'),
    epsilon: given.layer_norm_epsilon ?? 1e-5,
  };
  if (typeof config.epsilon !== 'number' || !(config.epsilon > 0)) {
    throw new FormatError(
      path,
      `layer_norm_epsilon is ${JSON.stringify(config.epsilon)}; a positive number is expected`,
    );
  }
  if (config.width % config.heads !== 0) {
    throw new FormatError(path, `n_embd ${config.width} is not a multiple of n_head ${config.heads}`);
  }
  // Options with one supported value; when absent, GPT-2's own default is that value.
  const fixed: Readonly<Record<string, readonly unknown[]>> = {
    activation_function: ['gelu_new'],
    n_inner: [null, 4 * config.width],
    scale_attn_weights: [true],
    scale_attn_by_inverse_layer_idx: [false],
    reorder_and_upcast_attn: [false, true],
    tie_word_embeddings: [true],
  };
  for (const [key, supported] of Object.entries(fixed)) {
    const value = given[key];
    if (value !== undefined && !supported.includes(value)) {
      throw new FormatError(
        path,
        `${key} is ${JSON.stringify(value)}; supported is ${JSON.stringify(supported.at(-1))}`,
      );
    }
  }
  return config as Gpt2Config;
}

/** The config.json that `transformers` reads back as the same model. @param storage the weights' type in torch's words. */
export function formatConfig(config: Gpt2Config, storage: 'float32' | 'bfloat16' | 'float16'): Record<string, unknown> {
  return {
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    vocab_size: config.vocabSize,
    n_positions: config.contextLength,
    n_ctx: config.contextLength,
    n_embd: config.width,
    n_layer: config.layers,
    n_head: config.heads,
    n_inner: null,
    activation_function: 'gelu_new',
    layer_norm_epsilon: config.epsilon,
    attn_pdrop: 0,
    embd_pdrop: 0,
    resid_pdrop: 0,
    initializer_range: 0.02,
    scale_attn_weights: true,
    tie_word_embeddings: true,
    use_cache: true,
    bos_token_id: config.vocabSize - 1,
    eos_token_id: config.vocabSize - 1,
    torch_dtype: storage,
  };
}
