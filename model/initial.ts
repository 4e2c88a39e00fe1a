/** A fresh GPT-2's weights, as the paper initializes them. */
import { type DenseWeight, weightShapes } from './checkpoint.ts';
import type { Gpt2Config } from './config.ts';
import { Random } from './random.ts';

/**
 * Weights of an untrained GPT-2 (Radford et al. 2019, section 2.3; Hugging Face's `initializer_range`): matrices and
 * embeddings normal with deviation 0.02, those that write to the residual stream divided by sqrt(2 layers), gains one,
 * biases zero. Each tensor depends on the seed and its own name alone.
 */
export function initialWeights(config: Gpt2Config, seed: number): Map<string, DenseWeight> {
  const residual = 1 / Math.sqrt(2 * config.layers);
  const weights = new Map<string, DenseWeight>();
  for (const [name, shape] of weightShapes(config)) {
    const size = shape.reduce((a, b) => a * b, 1);
    const data = new Float32Array(size);
    if (shape.length === 2) {
      const deviation = 0.02 * (name.endsWith('c_proj.weight') ? residual : 1);
      const random = new Random(seed, name);
      for (let i = 0; i < size; i++) data[i] = deviation * random.normal();
    } else if (name.endsWith('.weight')) {
      data.fill(1);
    }
    weights.set(name, { kind: 'dense', shape, data });
  }
  return weights;
}
