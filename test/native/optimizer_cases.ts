/** AdamW in float64. */
import { float32, floats, type KernelCase, type Result } from './case.ts';

function norm(label: string, sizes: number[], scale: number): KernelCase {
  const gradients = sizes.map((n) => floats([n], scale));
  const squares = gradients.flatMap(({ data }) => Array.from(data, (v) => v * v));
  const expected = [Math.sqrt(squares.reduce((sum, v) => sum + v, 0))];
  return { kernel: 'GlobalNorm', label, operands: gradients, attributes: {}, output: [1], expected, tolerance: 1e-7 };
}

function adamw(label: string, n: number, normValue: number, maxNorm: number, step: number): KernelCase[] {
  const [beta1, beta2, epsilon, weightDecay, rate] = [0.9, 0.999, 1e-8, 0.01, 2e-4];
  const [m, v, g, p] = [floats([n]), floats([n]), floats([n]), floats([n])];
  v.data.forEach((value, i) => {
    v.data[i] = value * value * 1e-3;
  });
  const c = maxNorm === 0 ? 1 : Math.min(1, maxNorm / (normValue + 1e-6));
  const norm = float32([1], [normValue]);
  const update = (i: number) => {
    const mean = m.data[i]! / (1 - beta1 ** step);
    const variance = v.data[i]! / (1 - beta2 ** step);
    return p.data[i]! - rate * (mean / (Math.sqrt(variance) + epsilon) + weightDecay * p.data[i]!);
  };
  const common = { label, output: [n], tolerance: 1e-6 };
  const cases: KernelCase[] = [
    {
      ...common,
      kernel: 'AdamWMean',
      operands: [m, g, norm],
      attributes: { beta1, maxNorm },
      expected: Array.from(m.data, (value, i) => beta1 * value + (1 - beta1) * c * g.data[i]!),
    },
    {
      ...common,
      kernel: 'AdamWVariance',
      operands: [v, g, norm],
      attributes: { beta2, maxNorm },
      expected: Array.from(v.data, (value, i) => beta2 * value + (1 - beta2) * (c * g.data[i]!) ** 2),
    },
    {
      ...common,
      kernel: 'AdamWUpdate',
      operands: [p, m, v, float32([2], [rate, step])],
      attributes: { beta1, beta2, epsilon, weightDecay },
      expected: Array.from(p.data, (_, i) => update(i)),
    },
  ];
  return cases.flatMap((each) => [each, { ...each, label: `${label}, in place`, inPlace: 0 }]);
}

/** All three kernels at once, for parameters of several sizes. */
function joined(label: string, sizes: number[], maxNorm: number): KernelCase {
  const [normValue, step] = [7, 3];
  const each = sizes.map((n) => adamw(label, n, normValue, maxNorm, step));
  const operands = each.flatMap(([ofMean, , ofVariance, , update]) => {
    const [m, g] = ofMean!.operands;
    // The update is given moments that are the new ones already: here they are made in the same call.
    return [update!.operands[0]!, m!, ofVariance!.operands[0]!, g!];
  });
  const { beta1, beta2, epsilon, weightDecay } = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 };
  const rate = 2e-4;
  const results = each.flatMap(([ofMean, , ofVariance, , update], i) => {
    const [mean, variance] = [ofMean!.expected, ofVariance!.expected];
    const p = Array.from(update!.operands[0]!.data, (value, e) => {
      const unbiased = [mean[e]! / (1 - beta1 ** step), variance[e]! / (1 - beta2 ** step)] as const;
      return value - rate * (unbiased[0] / (Math.sqrt(unbiased[1]) + epsilon) + weightDecay * value);
    });
    const output = [sizes[i]!];
    return [p, mean, variance].map((expected, k): Result => ({ output, expected, inPlace: 2 + 4 * i + k }));
  });
  return {
    kernel: 'AdamW',
    label,
    operands: [float32([1], [normValue]), float32([2], [rate, step]), ...operands],
    attributes: { beta1, beta2, epsilon, weightDecay, maxNorm },
    ...results[0]!,
    further: results.slice(1),
    tolerance: 1e-6,
  };
}

export function optimizerCases(): KernelCase[] {
  return [
    norm('one element', [1], 1),
    norm('many sizes', [1, 5000, 17, 100_000, 4096, 33], 1),
    norm('squares beyond float32', [100], 1e30),
    ...adamw('clipped', 100_001, 7, 1, 1),
    ...adamw('not clipped', 35, 0.5, 1, 1000),
    ...adamw('no limit', 35, 7, 0, 3),
    joined('two parameters', [100_001, 7], 1),
    joined(
      'more than one launch takes',
      Array.from({ length: 70 }, (_, i) => 1 + 61 * i),
      0,
    ),
  ];
}
