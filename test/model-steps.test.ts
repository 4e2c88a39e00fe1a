/** Whole steps on a two-layer toy, against the same model in plain float64 and against what the papers promise. */
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { weightShapes } from '../model/checkpoint.ts';
import { EagerScope } from '../model/eager_scope.ts';
import { families } from '../model/gpt2.ts';
import { loraMatMul } from '../model/kernels/lora.ts';
import { adaptedMatrices, adapterShapes, initialAdapters, type LoraConfig } from '../model/lora.ts';
import { type Matrices, nf4Parts } from '../model/matrix.ts';
import { dequantize, dequantizeAbsmax, quantize, quantizeAbsmax } from '../model/nf4.ts';
import type { TensorData } from '../model/scope.ts';
import { decodeStep, loraTrainingStep, lossStep, pretrainingStep } from '../model/steps.ts';
import { type TfBackend, tf, useBackend } from '../model/tf.ts';
import { crossEntropy64, differentiate, dot, linear64, relativeError, tokenLogProbs64 } from './support/float64.ts';
import { hiddenStates64 } from './support/gpt2_64.ts';
import { logitsStep } from './support/logits_step.ts';
import { adamw, float32, normals, toyConfig, toyText, toyWeights } from './support/toy.ts';

/** A chain of some twenty float32 kernels loses a digit against one; see model-kernels.test.ts. */
const tolerance = 1e-4;
const shape = { batch: 2, length: 5 };
const text = toyText(shape.batch, shape.length);
const { width: C, vocabSize: V } = toyConfig;
const weights = toyWeights();
const lora: LoraConfig = { rank: 2, alpha: 3, targets: families };
const frozen = { config: toyConfig, matrices: float32, lora };
const training = { ...frozen, ...shape, dropout: { rate: 0, seed: 0 }, adamw: { ...adamw, maxNorm: 0 } };
const adapters = busyAdapters(lora);

/** Adapters that do something: B is not zero. */
function busyAdapters(config: LoraConfig): Map<string, Float32Array> {
  const shapes = Array.from(adapterShapes(toyConfig, config));
  return new Map(shapes.map(([name, [rows, columns]]) => [name, normals(rows! * columns!, 0.2, 2, name)]));
}

function scopeOf(...contents: Iterable<readonly [string, TensorData]>[]): EagerScope {
  return new EagerScope(contents.flatMap((entries) => [...entries]));
}

/** The inputs that say which step it is. */
const atStep = (step: number, learningRate: number): [string, TensorData][] => [
  ['hyper', Float32Array.of(learningRate, step)],
  ['step', Int32Array.of(step)],
];

/** The gradient that a training step saw: after the first step, without clipping, the mean is (1 - beta1) times it. */
function gradientSeen(scope: EagerScope, name: string): number[] {
  return Array.from(scope.read(`${name}.mean`), (value) => value / (1 - adamw.beta1));
}

/** The loss of the toy with busy adapters, and its gradient with respect to each of them, in float64. */
function differentiateAdapters(): { loss: number; gradients: Map<string, Float64Array> } {
  const lossOf = (changed: Iterable<readonly [string, ArrayLike<number>]>) => {
    const all = new Map<string, ArrayLike<number>>([...weights, ...adapters, ...changed]);
    const hidden = hiddenStates64(toyConfig, all, text.tokens, shape.length, lora);
    return crossEntropy64(hidden, all.get('wte.weight')!, text.targets, C);
  };
  const gradients = Array.from(adapters, ([name, value]) => {
    return [name, differentiate((x) => lossOf([[name, x]]), value)] as const;
  });
  return { loss: lossOf([]), gradients: new Map(gradients) };
}

const oracle = differentiateAdapters();

describe.each<TfBackend>(['cpu', 'wasm'])('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('a LoRA step has the loss and the adapter gradients of the model in float64', () => {
    const scope = scopeOf(weights, adapters, Object.entries(text), atStep(1, 1e-3));
    const { loss, norm } = scope.run(loraTrainingStep(training));
    expect(relativeError(loss, [oracle.loss])).toBeLessThan(tolerance);
    let squares = 0;
    for (const [name, expected] of oracle.gradients) {
      expect(relativeError(gradientSeen(scope, name), expected), name).toBeLessThan(tolerance);
      squares += dot(expected, expected);
    }
    expect(relativeError(norm, [Math.sqrt(squares)])).toBeLessThan(tolerance);
  });

  it('a pretraining step has the gradients of every weight of the model in float64', () => {
    const config = { ...toyConfig, width: 8, layers: 1, vocabSize: 11, contextLength: 6 };
    const small = toyWeights(config);
    const { tokens, positions, targets } = toyText(2, 4, config.vocabSize);
    const scope = scopeOf(small, Object.entries({ tokens, positions, targets }), atStep(1, 1e-3));
    const { loss } = scope.run(pretrainingStep({ config, batch: 2, length: 4, adamw: training.adamw }));
    const lossOf = (changed: Iterable<readonly [string, ArrayLike<number>]>) => {
      const all = new Map<string, ArrayLike<number>>([...small, ...changed]);
      return crossEntropy64(hiddenStates64(config, all, tokens, 4), all.get('wte.weight')!, targets, 8);
    };
    expect(relativeError(loss, [lossOf([])])).toBeLessThan(tolerance);
    // The keys' biases add the same to all scores of a query, so their gradient is 0 but for rounding: errors are
    // measured against the largest gradient of all.
    const expected = Array.from(small, ([name, value]) => differentiate((x) => lossOf([[name, x]]), value));
    const actual = Array.from(small.keys(), (name) => gradientSeen(scope, name));
    const flat = (gradients: Iterable<number>[]) => gradients.flatMap((gradient) => [...gradient]);
    expect(relativeError(flat(actual), flat(expected))).toBeLessThan(tolerance);
  });

  it('in pretraining, weights decay that are matrices or embeddings, and gains and biases do not', () => {
    const [learningRate, weightDecay] = [1e-3, 50];
    const scope = scopeOf(weights, Object.entries(text), atStep(1, learningRate));
    scope.run(pretrainingStep({ config: toyConfig, ...shape, adamw: { ...adamw, weightDecay } }));
    for (const [name, size] of weightShapes(toyConfig)) {
      const before = weights.get(name)!;
      const decay = size.length === 2 ? learningRate * weightDecay : 0;
      const moved = scope.read(name).map((value, i) => value - before[i]! * (1 - decay));
      // The first step of Adam moves each parameter by the learning rate, whatever the size of its gradient.
      expect(Math.max(...moved.map(Math.abs)), name).toBeLessThan(learningRate * 1.001);
    }
  });

  it('evaluation gives the log-probabilities, logits and hidden states of the model in float64', () => {
    const hidden64 = hiddenStates64(toyConfig, new Map([...weights, ...adapters]), text.tokens, shape.length, lora);
    const wte = weights.get('wte.weight')!;
    const scope = scopeOf(weights, adapters, Object.entries(text));
    const { logits, hidden } = scope.run(logitsStep({ ...frozen, ...shape }));
    const { logProbs } = scope.run(lossStep({ ...frozen, ...shape }));
    expect(relativeError(hidden, hidden64)).toBeLessThan(tolerance);
    expect(relativeError(logits, linear64(hidden64, wte, undefined, C))).toBeLessThan(tolerance);
    expect(relativeError(logProbs, tokenLogProbs64(hidden64, wte, text.targets, C))).toBeLessThan(tolerance);
  });

  it('decoding token by token gives the logits of the whole text, for sequences at different positions', () => {
    const scope = scopeOf(weights, adapters, Object.entries(text));
    const { logits } = scope.run(logitsStep({ ...frozen, ...shape }));
    const decode = decodeStep({ ...frozen, batch: 2, capacity: 9 });
    const decoding = scopeOf(weights, adapters);
    for (let t = 0; t < shape.length; t++) {
      const positions = Int32Array.of(t, Math.max(t - 2, 0));
      const rows = Array.from(positions, (position, b) => b * shape.length + position);
      decoding.write(
        'tokens',
        Int32Array.from(rows, (row) => text.tokens[row]!),
      );
      decoding.write('positions', positions);
      const expected = rows.flatMap((row) => Array.from(logits.subarray(row * V, (row + 1) * V)));
      expect(relativeError(decoding.run(decode).logits, expected)).toBeLessThan(tolerance);
    }
  });

  it.each([
    { doubleQuantization: false, bits: 4 as const },
    { doubleQuantization: true, bits: 4 as const },
    { doubleQuantization: true, bits: 2 as const },
  ])(
    'a $bits-bit base (double quantization: $doubleQuantization) trains as the dense base that it stands for',
    (options) => {
      const { quantized, dense } = quantizeMatrices(options);
      const nf4: Matrices = () => ({ kind: 'nf4', block: 8, doubleQuantization: options.doubleQuantization });
      const run = (matrices: Matrices, base: Map<string, TensorData>) => {
        const scope = scopeOf(base, adapters, Object.entries(text), atStep(1, 1e-3));
        const { loss } = scope.run(loraTrainingStep({ ...training, matrices }));
        return [loss, ...Array.from(adapters.keys(), (name) => scope.read(name))];
      };
      expect(run(nf4, quantized)).toEqual(run(float32, dense));
    },
  );

  it('training adapters lowers the loss and changes nothing but adapters and their moments', () => {
    const own: LoraConfig = { rank: 4, alpha: 8, targets: ['q', 'v'] };
    const scope = scopeOf(weights, initialAdapters(toyConfig, own, 3), Object.entries(text));
    const run = loraTrainingStep({ ...training, lora: own, dropout: { rate: 0.1, seed: 1 }, adamw });
    const update = vi.spyOn(scope, 'update');
    const losses: number[] = [];
    for (let step = 1; step <= 30; step++) {
      for (const [name, value] of atStep(step, 2e-2)) scope.write(name, value);
      losses.push(scope.run(run).loss[0]!);
    }
    for (const [name, value] of weights) expect(scope.read(name)).toBe(value);
    expect(update).toHaveBeenCalledTimes(30 * 3 * adapterShapes(toyConfig, own).size);
    expect(losses.at(-1)!).toBeLessThan(0.8 * losses[0]!);
  });
});

describe('adapters', () => {
  beforeAll(() => useBackend('cpu'));

  /** The calls of kernels while something runs: name and attributes. */
  function kernelCalls(run: () => unknown): { name: string; attributes: object }[] {
    const spy = vi.spyOn(tf.engine(), 'runKernel');
    try {
      run();
      return spy.mock.calls.map(([name, , attributes]) => ({ name, attributes: attributes as object }));
    } finally {
      spy.mockRestore();
    }
  }

  it('frozen weights cost no gradient kernel, and nothing is differentiated below the first adapter', () => {
    const own: LoraConfig = { rank: 2, alpha: 2, targets: ['v'] };
    const scope = scopeOf(weights, busyAdapters(own), Object.entries(text), atStep(1, 1e-3));
    const made = kernelCalls(() => scope.run(loraTrainingStep({ ...training, lora: own })));
    const calls = (kernel: string) => made.filter(({ name }) => name === kernel).length;
    for (const name of [
      'LinearBackwardWeight',
      'ColumnSum',
      'LayerNormBackwardGain',
      'EmbeddingBackward',
      'CrossEntropyBackwardTable',
    ]) {
      expect(calls(name), name).toBe(0);
    }
    // Five norms and eight maps forward; backward, the first layer's ln_1 and c_attn lie below the first adapter.
    expect([calls('LayerNorm'), calls('LayerNormBackwardInput')]).toEqual([5, 4]);
    expect([calls('Linear'), calls('LinearBackwardInput')]).toEqual([8, 7]);
    expect([calls('CausalAttention'), calls('CausalAttentionBackward')]).toEqual([2, 2]);
  });

  it('begin by changing nothing: A is uniform within 1 / sqrt(in), B is zero', () => {
    const fresh = initialAdapters(toyConfig, lora, 1);
    for (const { a, b, inFeatures } of adaptedMatrices(toyConfig, families)) {
      const bound = 1 / Math.sqrt(inFeatures);
      const largest = Math.max(...fresh.get(a)!.map(Math.abs));
      expect(largest).toBeLessThanOrEqual(bound);
      expect(largest).toBeGreaterThan(0.8 * bound);
      expect(fresh.get(b)!.every((value) => value === 0)).toBe(true);
    }
    expect(initialAdapters(toyConfig, lora, 1)).toEqual(fresh);
    expect(initialAdapters(toyConfig, lora, 2)).not.toEqual(fresh);
    const base = scopeOf(weights, Object.entries(text)).run(
      logitsStep({ config: toyConfig, matrices: float32, ...shape }),
    );
    const adapted = scopeOf(weights, fresh, Object.entries(text)).run(logitsStep({ ...frozen, ...shape }));
    expect(adapted).toEqual(base);
  });

  it('act as the base with alpha / rank B A added to its matrices', () => {
    const merged = new Map<string, Float32Array>(weights);
    for (const { matrix, a, b, inFeatures, families: parts } of adaptedMatrices(toyConfig, families)) {
      const weight = merged.get(`${matrix}.weight`)!.slice();
      const [A, B] = [adapters.get(a)!, adapters.get(b)!];
      for (const [i, { offset, width }] of parts.entries())
        for (let row = 0; row < width; row++)
          for (let column = 0; column < inFeatures; column++)
            for (let r = 0; r < lora.rank; r++) {
              weight[(offset + row) * inFeatures + column]! +=
                (lora.alpha / lora.rank) *
                B[(i * width + row) * lora.rank + r]! *
                A[(i * lora.rank + r) * inFeatures + column]!;
            }
      merged.set(`${matrix}.weight`, weight);
    }
    const expected = scopeOf(merged, Object.entries(text)).run(
      logitsStep({ config: toyConfig, matrices: float32, ...shape }),
    );
    const actual = scopeOf(weights, adapters, Object.entries(text)).run(logitsStep({ ...frozen, ...shape }));
    expect(relativeError(actual.logits, expected.logits)).toBeLessThan(tolerance);
  });

  it('on q and v as slices equal one of twice the rank on the fused matrix, with zero rows for k', () => {
    const [N, r] = [4, 2];
    const random = (count: number, name: string) => normals(count, 1, 8, name);
    const [y, x] = [tf.tensor(random(N * 3 * C, 'y'), [N, 3 * C]), tf.tensor(random(N * C, 'x'), [N, C])];
    const [aq, av] = ['aq', 'av'].map((name) => tf.tensor(random(r * C, name), [r, C]));
    const [bq, bv] = ['bq', 'bv'].map((name) => tf.tensor(random(C * r, name), [C, r]));
    const slices = loraMatMul(loraMatMul(y, x, aq!, bq!, { scale: 2, offsets: [0] }), x, av!, bv!, {
      scale: 2,
      offsets: [2 * C],
    });
    const none = tf.zeros([C, r]);
    const fusedB = tf.concat([tf.concat([bq!, none], 1), tf.concat([none, none], 1), tf.concat([none, bv!], 1)], 0); // [3C, 2r]
    const fused = loraMatMul(y, x, tf.concat([aq!, av!], 0), fusedB, { scale: 2, offsets: [0] });
    expect(relativeError(slices.dataSync(), fused.dataSync())).toBeLessThan(1e-6);
  });

  it('of one matrix see one dropout mask, which changes from step to step and from matrix to matrix', () => {
    const dropping = { ...training, dropout: { rate: 0.5, seed: 4 } };
    const run = (step: number) =>
      scopeOf(weights, adapters, Object.entries(text), atStep(step, 1e-3)).run(loraTrainingStep(dropping)).loss[0]!;
    const masks = kernelCalls(() => run(1)).filter(({ name }) => name === 'Dropout');
    // Eight maps forward; their input's gradients are masked again, last layer first, but for the first layer's c_attn.
    const sites = masks.map(({ attributes }) => (attributes as { site: number }).site);
    expect(sites).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1]);
    expect(run(1)).toBe(run(1));
    expect(run(1)).not.toBe(run(2));
  });
});

describe('the backends agree', () => {
  it('on the loss and every adapter after a step', async () => {
    const results: TensorData[][] = [];
    for (const backend of ['cpu', 'wasm'] as const) {
      await useBackend(backend);
      const scope = scopeOf(weights, adapters, Object.entries(text), atStep(1, 1e-3));
      const { loss } = scope.run(loraTrainingStep({ ...training, dropout: { rate: 0.2, seed: 9 } }));
      results.push([loss, ...Array.from(adapters.keys(), (name) => scope.read(`${name}.mean`))]);
    }
    const [cpu, wasm] = results as [TensorData[], TensorData[]];
    for (const [i, expected] of cpu.entries()) expect(relativeError(wasm[i]!, expected)).toBeLessThan(tolerance);
  });
});

/** The toy's matrices quantized in blocks of 8, as a scope holds them, and the dense weights that they stand for. */
function quantizeMatrices({ doubleQuantization, bits }: { doubleQuantization: boolean; bits: 2 | 4 }) {
  const quantized = new Map<string, TensorData>(weights);
  const dense = new Map<string, TensorData>(weights);
  for (const [name, value] of weights) {
    if (!/\.(c_attn|c_fc|c_proj)\.weight$/.test(name)) continue;
    const matrix = quantize(value, 8, bits);
    const nested = quantizeAbsmax(matrix.absmax);
    quantized.set(name, matrix.codes);
    quantized.set(name + nf4Parts.codebook, matrix.codebook);
    if (doubleQuantization) {
      quantized.set(name + nf4Parts.absmax, nested.codes);
      quantized.set(name + nf4Parts.nestedAbsmax, nested.nestedAbsmax);
      quantized.set(name + nf4Parts.nestedCodebook, nested.nestedCodebook);
      quantized.set(name + nf4Parts.offset, Float32Array.of(nested.offset));
      dense.set(name, dequantize({ ...matrix, absmax: dequantizeAbsmax(nested) }));
    } else {
      quantized.set(name + nf4Parts.absmax, matrix.absmax);
      dense.set(name, dequantize(matrix));
    }
  }
  return { quantized, dense };
}
