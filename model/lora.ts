/** Low-rank adapters (LoRA: Hu et al. 2021): which matrices they sit on, what they are called, how they begin. */
import type { Gpt2Config } from './config.ts';
import { type Family, type FamilyRows, familyRows, type Gpt2Weights, matrices } from './gpt2.ts';
import { dropout } from './kernels/dropout.ts';
import { loraMatMul } from './kernels/lora_matmul.ts';
import { Random } from './random.ts';
import type { Tensor } from './tf.ts';

export interface LoraConfig {
  /** Columns of B and rows of A. */
  readonly rank: number;
  /** The update is scaled by alpha / rank. */
  readonly alpha: number;
  /** What adapters sit on. */
  readonly targets: readonly Family[];
}

/** One adapter: the update scale (x Aᵀ) Bᵀ of a family's columns of a matrix's output. */
export interface AdapterSite extends FamilyRows {
  /** Name of A [rank, inFeatures]: `h.0.q.lora_A`. */
  readonly a: string;
  /** Name of B [width, rank]: `h.0.q.lora_B`. */
  readonly b: string;
}

/** Every adapter of a model, in the order of `familyRows`. */
export function adapterSites(config: Gpt2Config, targets: readonly Family[]): AdapterSite[] {
  return familyRows(config, targets).map((rows) => ({
    ...rows,
    a: `h.${rows.layer}.${rows.family}.lora_A`,
    b: `h.${rows.layer}.${rows.family}.lora_B`,
  }));
}

/** The shapes of all adapter tensors by name: A then B of each site. */
export function adapterShapes(config: Gpt2Config, lora: LoraConfig): Map<string, readonly number[]> {
  return new Map(
    adapterSites(config, lora.targets).flatMap(({ a, b, inFeatures, width }) => [
      [a, [lora.rank, inFeatures]] as const,
      [b, [width, lora.rank]] as const,
    ]),
  );
}

/**
 * Fresh adapters: A uniform within ±1 / sqrt(inFeatures), which is PEFT's Kaiming initialization, and B zero, so that the
 * model begins as it was. Each tensor depends on the seed and its own name alone.
 */
export function initialAdapters(config: Gpt2Config, lora: LoraConfig, seed: number): Map<string, Float32Array> {
  const adapters = new Map<string, Float32Array>();
  for (const { a, b, inFeatures, width } of adapterSites(config, lora.targets)) {
    const random = new Random(seed, a);
    const bound = 1 / Math.sqrt(inFeatures);
    adapters.set(
      a,
      Float32Array.from({ length: lora.rank * inFeatures }, () => (2 * random.uniform() - 1) * bound),
    );
    adapters.set(b, new Float32Array(width * lora.rank));
  }
  return adapters;
}

/** Dropout on what adapters read, in training. */
export interface AdapterDropout {
  readonly rate: number;
  readonly seed: number;
  /** int32 [1] */
  readonly step: Tensor;
}

/**
 * A model's weights with adapters on them. Adapters of one matrix read the same input, with one dropout mask.
 * @param tensors A and B of each site, by name.
 */
export function withAdapters(
  base: Gpt2Weights,
  config: Gpt2Config,
  lora: LoraConfig,
  tensors: ReadonlyMap<string, Tensor>,
  adapterDropout?: AdapterDropout,
): Gpt2Weights {
  const scale = lora.alpha / lora.rank;
  const all = adapterSites(config, lora.targets);
  return {
    tensor: base.tensor,
    linear(name, outFeatures, inFeatures) {
      const map = base.linear(name, outFeatures, inFeatures);
      const sites = all.filter(({ matrix }) => matrix === name);
      if (sites.length === 0) return map;
      return (x) => {
        const input = adapterDropout === undefined ? x : drop(x, name, sites[0]!.layer, adapterDropout);
        return sites.reduce(
          (y, { a, b, offset }) => loraMatMul(y, input, tensors.get(a)!, tensors.get(b)!, { scale, offset }),
          map(x),
        );
      };
    },
  };
}

function drop(x: Tensor, name: string, layer: number, { rate, seed, step }: AdapterDropout): Tensor {
  const site = layer * matrices.length + matrices.findIndex((matrix) => name === `h.${layer}.${matrix}`);
  return dropout(x, step, { rate, seed, site });
}
