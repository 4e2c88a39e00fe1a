/** Every kernel's composite against plain float64 formulas, and every registered gradient against finite differences of them. */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { adamWMean, adamWUpdate, adamWVariance, globalNorm } from '../model/kernels/adamw.ts';
import { causalAttention } from '../model/kernels/attention.ts';
import { cachedAttention, cacheWrite } from '../model/kernels/cache.ts';
import { crossEntropy, tokenLogProb } from '../model/kernels/cross_entropy.ts';
import { dropout, dropoutUniform } from '../model/kernels/dropout.ts';
import { embedding } from '../model/kernels/embedding.ts';
import { gelu } from '../model/kernels/gelu.ts';
import { layerNorm } from '../model/kernels/layer_norm.ts';
import { linear } from '../model/kernels/linear.ts';
import { loraMatMul } from '../model/kernels/lora.ts';
import { dequantizeAbsmax as dequantizeAbsmaxOp, nf4Dequantize, nf4MatMul } from '../model/kernels/nf4_matmul.ts';
import { nf4Absmax, nf4Codes } from '../model/kernels/nf4_quantize.ts';
import { dequantize, dequantizeAbsmax, quantize, quantizeAbsmax } from '../model/nf4.ts';
import { codeThresholds, normalFloatCodebook } from '../model/nf4_codebooks.ts';
import { type Tensor, type TfBackend, tf, useBackend } from '../model/tf.ts';
import {
  attention64,
  crossEntropy64,
  differentiate,
  dot,
  embedding64,
  gelu64,
  layerNorm64,
  linear64,
  lora64,
  relativeError,
  tokenLogProbs64,
} from './support/float64.ts';
import { normals } from './support/toy.ts';

/**
 * Float32 has a unit roundoff of 6e-8; the sums below have at most some hundred terms and a few of them follow each
 * other, so results are good to about 1e-6 of the largest element. A wrong factor, term or index is off by far more.
 */
const tolerance = 1e-5;

/** A differentiable function of named float arrays, in float64 and as a kernel. */
interface Case {
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  reference(x: Record<string, Float64Array>): ArrayLike<number>;
  kernel(x: Record<string, Tensor>): Tensor;
  /** Inputs that have no gradient. */
  readonly frozen?: readonly string[];
}

const ids = [3, 0, 4, 3, 3, 1];
const targets = [2, -1, 0, 6, -7];
const dropoutAttributes = { rate: 0.3, seed: 7, site: 5 };
const quantizedWeight = quantize(normals(12 * 8, 1, 3, 'w'), 4);
const dequantizedWeight = dequantize(quantizedWeight);
const nf4Weight = () => ({
  codes: tf.tensor(Int32Array.from(quantizedWeight.codes), [48], 'int32'),
  absmax: tf.tensor(quantizedWeight.absmax),
  codebook: tf.tensor(quantizedWeight.codebook),
});
const loraSizes = { rank: 2, inFeatures: 5, outFeatures: 9, scale: 1.5 };

const cases: Record<string, Case> = {
  Linear: {
    inputs: { x: [5, 4], weight: [3, 4], bias: [3] },
    reference: ({ x, weight, bias }) => linear64(x!, weight!, bias, 4),
    kernel: ({ x, weight, bias }) => linear(x!, weight!, bias),
  },
  'Linear without bias': {
    inputs: { x: [5, 4], weight: [3, 4] },
    reference: ({ x, weight }) => linear64(x!, weight!, undefined, 4),
    kernel: ({ x, weight }) => linear(x!, weight!),
  },
  LayerNorm: {
    inputs: { x: [4, 6], gain: [6], bias: [6] },
    reference: ({ x, gain, bias }) => layerNorm64(x!, gain!, bias!, 1e-2),
    kernel: ({ x, gain, bias }) => layerNorm(x!, gain!, bias!, 1e-2),
  },
  Gelu: {
    inputs: { x: [3, 7] },
    reference: ({ x }) => gelu64(x!.map((v) => 3 * v)),
    kernel: ({ x }) => gelu(tf.mul(x!, 3)),
  },
  CausalAttention: {
    inputs: { qkv: [2, 5, 18] },
    reference: ({ qkv }) => attention64(qkv!, 2, 5, 6, 3),
    kernel: ({ qkv }) => causalAttention(qkv!, 3),
  },
  Embedding: {
    inputs: { table: [5, 4] },
    reference: ({ table }) => embedding64(table!, ids, 4),
    kernel: ({ table }) => embedding(table!, tf.tensor(ids, [2, 3], 'int32')),
  },
  CrossEntropy: {
    inputs: { hidden: [5, 4], table: [7, 4] },
    reference: ({ hidden, table }) => [crossEntropy64(hidden!, table!, targets, 4)],
    kernel: ({ hidden, table }) => crossEntropy(hidden!, table!, tf.tensor(targets, [5], 'int32')),
  },
  'LoRA of one family': {
    inputs: { y: [4, 9], x: [4, 5], a: [2, 5], b: [4, 2] },
    reference: ({ y, x, a, b }) => lora64(y!, x!, a!, b!, { ...loraSizes, offset: 3 }),
    kernel: ({ y, x, a, b }) => loraMatMul(y!, x!, a!, b!, { scale: 1.5, offsets: [3] }),
  },
  'LoRA of two families': {
    inputs: { y: [4, 9], x: [4, 5], a: [4, 5], b: [6, 2] },
    reference: ({ y, x, a, b }) => {
      const first = lora64(y!, x!, a!.slice(0, 10), b!.slice(0, 6), { ...loraSizes, offset: 1 });
      return lora64(first, x!, a!.slice(10), b!.slice(6), { ...loraSizes, offset: 6 });
    },
    kernel: ({ y, x, a, b }) => loraMatMul(y!, x!, a!, b!, { scale: 1.5, offsets: [1, 6] }),
  },
  Nf4MatMul: {
    inputs: { x: [3, 8], bias: [12] },
    reference: ({ x, bias }) => linear64(x!, dequantizedWeight, bias, 8),
    kernel: ({ x, bias }) => nf4MatMul(x!, nf4Weight(), bias, { outFeatures: 12, block: 4 }),
    frozen: ['bias'],
  },
  Dropout: {
    inputs: { x: [4, 25] },
    reference: ({ x }) => x!.map((v, i) => (uniform(i, 2, dropoutAttributes) >= 0.3 ? v / 0.7 : 0)),
    kernel: ({ x }) => dropout(x!, tf.tensor([2], [1], 'int32'), dropoutAttributes),
  },
};

/** Dropout's definition with exact integers, modulo 2^32. */
function uniform(index: number, step: number, { seed, site }: { seed: number; site: number }): number {
  const word = (x: bigint) => x & 0xffffffffn;
  let h = BigInt(index) ^ word(BigInt(site) * 0x9e3779b1n);
  h = word(h + BigInt(seed) * 0x85ebca6bn + BigInt(step) * 0xc2b2ae35n);
  h ^= h >> 16n;
  h = word(h * 0x7feb352dn);
  h ^= h >> 15n;
  h = word(h * 0x846ca68bn);
  h ^= h >> 16n;
  return Number(h >> 8n) * 2 ** -24;
}

function values(shapes: Case['inputs']): Record<string, Float32Array> {
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [
      name,
      normals(
        shape.reduce((a, b) => a * b, 1),
        1,
        11,
        name,
      ),
    ]),
  );
}

function tensors(shapes: Case['inputs']): Record<string, Tensor> {
  const content = values(shapes);
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => [name, tf.tensor(content[name]!, [...shape])]),
  );
}

const doubles = (x: Record<string, Float32Array>) =>
  Object.fromEntries(Object.entries(x).map(([name, array]) => [name, Float64Array.from(array)]));

describe.each<TfBackend>(['cpu', 'wasm'])('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(Object.entries(cases))('%s', (_, { inputs, reference, kernel, frozen }) => {
    const names = Object.keys(inputs).filter((name) => !frozen?.includes(name));

    it('computes its formula', () => {
      const actual = tf.tidy(() => kernel(tensors(inputs)).dataSync().slice());
      expect(relativeError(actual, reference(doubles(values(inputs))))).toBeLessThan(tolerance);
    });

    it.each(names)('has the gradient of its formula with respect to %s', (name) => {
      const x = values(inputs);
      const outputs = reference(doubles(x)).length;
      const direction = normals(outputs, 1, 23);
      const expected = differentiate((at) => dot(direction, reference({ ...doubles(x), [name]: at })), x[name]!);
      const actual = tf.tidy(() => {
        const given = tensors(inputs);
        const gradient = tf.grad((at) => {
          const y = kernel({ ...given, [name]: at });
          return tf.sum(tf.mul(y, tf.tensor(direction, y.shape)));
        });
        return gradient(given[name]!).dataSync().slice();
      });
      expect(relativeError(actual, expected)).toBeLessThan(tolerance);
    });

    it('leaves no tensor behind', () => {
      const before = tf.memory().numTensors;
      tf.tidy(() => {
        const given = names.map((name) => tensors(inputs)[name]!);
        tf.grads((...xs: Tensor[]) =>
          tf.sum(kernel({ ...tensors(inputs), ...Object.fromEntries(names.map((name, i) => [name, xs[i]!])) })),
        )(given);
      });
      expect(tf.memory().numTensors).toBe(before);
    });
  });

  it('TokenLogProb gives each target its log-probability, and 0 where there is none', () => {
    const { hidden, table } = values({ hidden: [5, 4], table: [7, 4] });
    const actual = tf.tidy(() =>
      tokenLogProb(tf.tensor(hidden!, [5, 4]), tf.tensor(table!, [7, 4]), tf.tensor(targets, [5], 'int32'))
        .dataSync()
        .slice(),
    );
    expect(relativeError(actual, tokenLogProbs64(hidden!, table!, targets, 4))).toBeLessThan(tolerance);
    expect(Math.abs(actual[1]!) + Math.abs(actual[4]!)).toBe(0);
  });

  it('CrossEntropy of rows without a target is 0, and so are its gradients', () => {
    const { hidden, table } = tensors({ hidden: [2, 4], table: [7, 4] });
    const none = tf.tensor([-1, -1], [2], 'int32');
    const { value, grads } = tf.valueAndGrads((h, t) => crossEntropy(h!, t!, none) as tf.Scalar)([hidden!, table!]);
    expect(Math.abs(value.dataSync()[0]!)).toBe(0);
    for (const gradient of grads) expect(Math.max(...gradient.dataSync().map(Math.abs))).toBe(0);
  });

  it('Dropout takes another mask at another step, site and seed, and drops about its rate', () => {
    const mask = (step: number, seed: number, site: number, rate = 0.1) =>
      tf.tidy(() =>
        dropout(tf.ones([20_000]), tf.tensor([step], [1], 'int32'), { rate, seed, site })
          .dataSync()
          .slice(),
      );
    const first = mask(1, 2, 3);
    const dropped = first.filter((value) => value === 0).length;
    // Binomial with n = 20,000 and p = 0.1: a standard deviation of 42.
    expect(Math.abs(dropped - 2000)).toBeLessThan(5 * 42);
    expect(new Set(first)).toEqual(new Set([0, Math.fround(1 / 0.9)]));
    for (const other of [mask(2, 2, 3), mask(1, 3, 3), mask(1, 2, 4)]) {
      // Independent masks both drop an element in one case of a hundred: 200 of 20,000, standard deviation 14.
      const both = first.filter((value, i) => value === 0 && other[i] === 0).length;
      expect(Math.abs(both - 200)).toBeLessThan(5 * 14);
    }
  });

  it('GlobalNorm is the norm of all elements together', () => {
    const [a, b] = [normals(10, 1, 1), normals(6, 2, 2)];
    const actual = tf.tidy(() => globalNorm([tf.tensor(a, [2, 5]), tf.tensor(b)]).dataSync()[0]!);
    expect(actual).toBeCloseTo(Math.sqrt(dot(a, a) + dot(b, b)), 5);
  });

  it.each([
    { step: 1, norm: 0.5, maxNorm: 1 },
    { step: 2, norm: 4, maxNorm: 1 },
    { step: 1000, norm: 4, maxNorm: 0 },
  ])('AdamW at step $step with norm $norm clipped to $maxNorm follows its algorithm', ({ step, norm, maxNorm }) => {
    const [beta1, beta2, epsilon, weightDecay, learningRate] = [0.9, 0.999, 1e-8, 0.1, 1e-2];
    const [p, g, m] = ['p', 'g', 'm'].map((name) => normals(9, 1, 4, name)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const v = normals(9, 1, 4, 'v').map((value) => value * value);
    const clip = maxNorm === 0 ? 1 : Math.min(1, maxNorm / (norm + 1e-6));
    const m2 = Float64Array.from(m, (value, i) => beta1 * value + (1 - beta1) * clip * g[i]!);
    const v2 = Float64Array.from(v, (value, i) => beta2 * value + (1 - beta2) * (clip * g[i]!) ** 2);
    const p2 = Float64Array.from(p, (value, i) => {
      const direction = m2[i]! / (1 - beta1 ** step) / (Math.sqrt(v2[i]! / (1 - beta2 ** step)) + epsilon);
      return value - learningRate * (direction + weightDecay * value);
    });
    tf.tidy(() => {
      const newM = adamWMean(tf.tensor(m), tf.tensor(g), tf.tensor([norm]), { beta1, maxNorm });
      const newV = adamWVariance(tf.tensor(v), tf.tensor(g), tf.tensor([norm]), { beta2, maxNorm });
      const attributes = { beta1, beta2, epsilon, weightDecay };
      const newP = adamWUpdate(tf.tensor(p), newM, newV, tf.tensor([learningRate, step]), attributes);
      expect(relativeError(newM.dataSync(), m2)).toBeLessThan(tolerance);
      expect(relativeError(newV.dataSync(), v2)).toBeLessThan(tolerance);
      const moved = Array.from(newP.dataSync(), (value, i) => value - p[i]!);
      const expected = Array.from(p2, (value, i) => value - p[i]!);
      // The move is a difference of numbers a hundred times larger, so it has two digits fewer.
      expect(relativeError(moved, expected)).toBeLessThan(100 * tolerance);
    });
  });

  it('the cache kernels give, token by token, what CausalAttention gives at once', () => {
    const [B, T, C, heads, capacity] = [2, 5, 6, 3, 8];
    const qkv = normals(B * T * 3 * C, 1, 9);
    const whole = attention64(qkv, B, T, C, heads);
    // The second sequence runs one position behind the first: rows of a batch need not be in step.
    let keys: Tensor = tf.fill([B, capacity, C], 1e3);
    let values: Tensor = tf.fill([B, capacity, C], 1e3);
    for (let t = 0; t < T; t++) {
      const at = [t, Math.max(t - 1, 0)];
      const token = at.flatMap((position, b) =>
        Array.from(qkv.subarray((b * T + position) * 3 * C, (b * T + position + 1) * 3 * C)),
      );
      const now = tf.tensor(token, [B, 1, 3 * C]);
      const positions = tf.tensor(at, [B], 'int32');
      keys = cacheWrite(keys, now, positions, 1);
      values = cacheWrite(values, now, positions, 2);
      const expected = at.flatMap((position, b) =>
        Array.from(whole.subarray((b * T + position) * C, (b * T + position + 1) * C)),
      );
      expect(relativeError(cachedAttention(now, keys, values, positions, heads).dataSync(), expected)).toBeLessThan(
        tolerance,
      );
    }
  });

  it.each([2, 3, 4] as const)('Nf4Absmax and Nf4Codes give the reference to the bit: %i bits', (bits) => {
    const weights = Float32Array.of(...normals(40 * 64, 1, 6), ...new Float32Array(64));
    const expected = quantize(weights, 64, bits);
    tf.tidy(() => {
      const [w, thresholds] = [tf.tensor(weights), tf.tensor(codeThresholds(normalFloatCodebook(bits)))];
      const absmax = nf4Absmax(w, 64);
      expect(absmax.dataSync()).toEqual(expected.absmax);
      expect([...nf4Codes(w, absmax, thresholds, 64).dataSync()]).toEqual([...expected.codes]);
    });
  });

  it('Nf4Dequantize and DequantizeAbsmax give the reference to the bit', () => {
    const quantized = quantize(normals(40 * 64, 1, 6), 4);
    const nested = quantizeAbsmax(quantized.absmax);
    tf.tidy(() => {
      const byte = (codes: Uint8Array) => tf.tensor(Int32Array.from(codes), [codes.length], 'int32');
      const absmax = dequantizeAbsmaxOp(
        byte(nested.codes),
        tf.tensor(nested.nestedAbsmax),
        tf.tensor(nested.nestedCodebook),
        tf.tensor([nested.offset]),
      );
      expect(absmax.dataSync()).toEqual(dequantizeAbsmax(nested));
      const weight = { codes: byte(quantized.codes), absmax, codebook: tf.tensor(quantized.codebook) };
      const expected = dequantize({ ...quantized, absmax: dequantizeAbsmax(nested) });
      expect(nf4Dequantize(weight, { shape: [40, 64], block: 4 }).dataSync()).toEqual(expected);
    });
  });
});

it("dropout's numbers are those of its definition in exact integers", () => {
  const word = fc.integer({ min: 0, max: 2 ** 31 - 1 });
  fc.assert(
    fc.property(word, word, word, word, (index, step, seed, site) => {
      expect(dropoutUniform(index, step, seed, site)).toBe(uniform(index, step, { seed, site }));
    }),
  );
});

describe('operands that do not fit', () => {
  beforeAll(() => useBackend('cpu'));

  it.each([
    [
      'Linear',
      () => linear(tf.ones([2, 3]), tf.ones([4, 5])),
      /Linear: operand 'x' has shape \[2, 3\], expected \[\*, 5\]/,
    ],
    [
      'LoraUpdate',
      () => loraMatMul(tf.ones([2, 4]), tf.ones([2, 3]), tf.ones([1, 3]), tf.ones([3, 1]), { scale: 1, offsets: [2] }),
      /columns 2 to 5 lie outside y, which has 4/,
    ],
    [
      'CausalAttention',
      () => causalAttention(tf.ones([1, 2, 10]), 2),
      /expected \[batch, time, 3 \* 2 heads \* head size\]/,
    ],
    [
      'CrossEntropy',
      () => crossEntropy(tf.ones([2, 3]), tf.ones([5, 3]), tf.zeros([3], 'int32')),
      /operand 'targets' has shape \[3\], expected \[2\]/,
    ],
  ])('%s says which', (_, run, message) => {
    expect(run).toThrow(message);
  });
});
