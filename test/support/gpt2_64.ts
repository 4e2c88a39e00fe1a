/** GPT-2 with adapters in plain float64: the oracle of whole steps. */
import type { Gpt2Config } from '../../model/config.ts';
import { adaptedMatrices, type LoraConfig } from '../../model/lora.ts';
import { attention64, embedding64, gelu64, layerNorm64, linear64, lora64 } from './float64.ts';

/**
 * The model up to its last layer norm: [B * T, C].
 * @param weights the base's weights and, with `lora`, A and B of each adapter.
 */
export function hiddenStates64(
  config: Gpt2Config,
  weights: ReadonlyMap<string, ArrayLike<number>>,
  tokens: ArrayLike<number>,
  T: number,
  lora?: LoraConfig,
): Float64Array {
  const { width: C, heads, epsilon } = config;
  const at = (name: string) => weights.get(name)!;
  const add = (a: Float64Array, b: Float64Array) => a.map((value, i) => value + b[i]!);
  const norm = (x: Float64Array, name: string) => layerNorm64(x, at(`${name}.weight`), at(`${name}.bias`), epsilon);
  const adapted = lora === undefined ? [] : adaptedMatrices(config, lora.targets);
  const map = (x: Float64Array, name: string, inFeatures: number, outFeatures: number) => {
    const y = linear64(x, at(`${name}.weight`), at(`${name}.bias`), inFeatures);
    const adapters = adapted.find(({ matrix }) => matrix === name);
    if (adapters === undefined) return y;
    const { rank, alpha } = lora!;
    const rows = (tensor: string, i: number, size: number) => Array.from(at(tensor)).slice(i * size, (i + 1) * size);
    return adapters.families.reduce((sum, { offset, width }, i) => {
      const [a, b] = [rows(adapters.a, i, rank * inFeatures), rows(adapters.b, i, width * rank)];
      return lora64(sum, x, a, b, { rank, scale: alpha / rank, inFeatures, outFeatures, offset });
    }, y);
  };
  const positions = Array.from(tokens, (_, i) => i % T);
  let x = add(embedding64(at('wte.weight'), tokens, C), embedding64(at('wpe.weight'), positions, C));
  for (let layer = 0; layer < config.layers; layer++) {
    const h = `h.${layer}`;
    const qkv = map(norm(x, `${h}.ln_1`), `${h}.attn.c_attn`, C, 3 * C);
    const mixed = attention64(qkv, tokens.length / T, T, C, heads);
    x = add(x, map(mixed, `${h}.attn.c_proj`, C, C));
    const wide = gelu64(map(norm(x, `${h}.ln_2`), `${h}.mlp.c_fc`, C, 4 * C));
    x = add(x, map(wide, `${h}.mlp.c_proj`, 4 * C, C));
  }
  return norm(x, 'ln_f');
}
