/** Low-rank adapters (LoRA: Hu et al. 2021): which matrices they sit on, what they are called, how they begin. */
import type { Gpt2Config } from './config.ts';
import { type Family, type FamilyRows, familyRows, type Gpt2Weights, matrices } from './gpt2.ts';
import { dropout } from './kernels/dropout.ts';
import { loraMatMul } from './kernels/lora.ts';
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

/**
 * The adapters on one matrix: for each of its families i the update scale (x Aᵢᵀ) Bᵢᵀ of the family's columns of the
 * matrix's output. They are held as one tensor A and one B, those of the families one below the other.
 */
export interface AdaptedMatrix {
  /** `h.0.attn.c_attn` */
  readonly matrix: string;
  readonly layer: number;
  readonly inFeatures: number;
  /** All of one width. */
  readonly families: readonly FamilyRows[];
  /** Name of A [families * rank, inFeatures]: `h.0.attn.c_attn.lora_A`. */
  readonly a: string;
  /** Name of B [families * width, rank]: `h.0.attn.c_attn.lora_B`. */
  readonly b: string;
}

/** Every matrix of a model that has adapters, in the order of `familyRows`. */
export function adaptedMatrices(config: Gpt2Config, targets: readonly Family[]): AdaptedMatrix[] {
  const byMatrix = new Map<string, FamilyRows[]>();
  for (const rows of familyRows(config, targets)) {
    byMatrix.set(rows.matrix, [...(byMatrix.get(rows.matrix) ?? []), rows]);
  }
  return Array.from(byMatrix, ([matrix, families]) => ({
    matrix,
    layer: families[0]!.layer,
    inFeatures: families[0]!.inFeatures,
    families,
    a: `${matrix}.lora_A`,
    b: `${matrix}.lora_B`,
  }));
}

/** The shapes of all adapter tensors by name: A then B of each matrix. */
export function adapterShapes(config: Gpt2Config, lora: LoraConfig): Map<string, readonly number[]> {
  return new Map(
    adaptedMatrices(config, lora.targets).flatMap(({ a, b, inFeatures, families }) => [
      [a, [families.length * lora.rank, inFeatures]] as const,
      [b, [families.length * families[0]!.width, lora.rank]] as const,
    ]),
  );
}

/**
 * Fresh adapters: A uniform within ±1 / sqrt(inFeatures), which is PEFT's Kaiming initialization, and B zero, so that the
 * model begins as it was. Each family's A depends on the seed, the layer and the family alone.
 */
export function initialAdapters(config: Gpt2Config, lora: LoraConfig, seed: number): Map<string, Float32Array> {
  const shapes = adapterShapes(config, lora);
  const adapters = new Map(Array.from(shapes, ([name, [rows, columns]]) => [name, new Float32Array(rows! * columns!)]));
  for (const { a, inFeatures, families } of adaptedMatrices(config, lora.targets)) {
    const bound = 1 / Math.sqrt(inFeatures);
    const size = lora.rank * inFeatures;
    families.forEach(({ layer, family }, i) => {
      const random = new Random(seed, `h.${layer}.${family}.lora_A`);
      adapters.get(a)!.set(
        Float32Array.from({ length: size }, () => (2 * random.uniform() - 1) * bound),
        i * size,
      );
    });
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
 * @param tensors A and B of each matrix, by name.
 */
export function withAdapters(
  base: Gpt2Weights,
  config: Gpt2Config,
  lora: LoraConfig,
  tensors: ReadonlyMap<string, Tensor>,
  adapterDropout?: AdapterDropout,
): Gpt2Weights {
  const scale = lora.alpha / lora.rank;
  const adapted = new Map(adaptedMatrices(config, lora.targets).map((each) => [each.matrix, each]));
  return {
    tensor: base.tensor,
    linear(name, outFeatures, inFeatures) {
      const map = base.linear(name, outFeatures, inFeatures);
      const adapters = adapted.get(name);
      if (adapters === undefined) return map;
      const [a, b] = [tensors.get(adapters.a)!, tensors.get(adapters.b)!];
      const offsets = adapters.families.map(({ offset }) => offset);
      return (x) => {
        // The base comes first: then its gradient comes last, and can be added to the adapter's in its own product.
        const y = map(x);
        const input = adapterDropout === undefined ? x : drop(x, name, adapters.layer, adapterDropout);
        return loraMatMul(y, input, a, b, { scale, offsets });
      };
    },
  };
}

function drop(x: Tensor, name: string, layer: number, { rate, seed, step }: AdapterDropout): Tensor {
  const site = layer * matrices.length + matrices.findIndex((matrix) => name === `h.${layer}.${matrix}`);
  return dropout(x, step, { rate, seed, site });
}
