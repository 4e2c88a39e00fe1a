/** The stages quantize, train, evaluate and pretrain, on a toy GPT-2 made here. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { evaluationBatches } from '../model/batches.ts';
import { type DenseWeight, readCheckpoint, writeCheckpoint } from '../model/checkpoint.ts';
import { exampleSplit, readDataset, writeDataset, writeTextDataset } from '../model/dataset.ts';
import { roundToBfloat16 } from '../model/float16.ts';
import { initialWeights } from '../model/initial.ts';
import { dequantize, dequantizeAbsmax, quantizeAbsmax, quantize as quantizeWeights } from '../model/nf4.ts';
import { readQuantizedCheckpoint } from '../model/quantized_checkpoint.ts';
import { Random } from '../model/random.ts';
import { centredCosine } from '../stages/evaluate/cosine.ts';
import evaluate from '../stages/evaluate.ts';
import pretrain from '../stages/pretrain.ts';
import quantize from '../stages/quantize.ts';
import { learningRate } from '../stages/shared/schedule.ts';
import { parseTargets } from '../stages/shared/targets.ts';
import train from '../stages/train.ts';
import { tokenLogProbs64 } from './support/float64.ts';
import { hiddenStates64 } from './support/gpt2_64.ts';
import { openWorkshop } from './support/stages.ts';

const config = { vocabSize: 96, contextLength: 32, width: 64, layers: 2, heads: 2, epsilon: 1e-5 };
const meta = { vocabSize: 96, endOfText: 0, maxLength: 20, seed: 1, dropped: 0, truncated: 0 };
const runner = openWorkshop();
const home = runner.folder;
const [base, data, text] = ['base', 'data', 'text'].map((name) => join(home, name)) as [string, string, string];

/** Prompts of random tokens whose response repeats the prompt's first token twice: a rule that adapters can learn. */
function examples(count: number, seed: number) {
  const random = new Random(seed, 'examples');
  return Array.from({ length: count }, () => {
    const prompt = Array.from({ length: 4 + random.integer(6) }, () => 1 + random.integer(8));
    return { tokens: Int32Array.from([...prompt, prompt[0]!, prompt[0]!, 0]), promptLength: prompt.length };
  });
}

beforeAll(() => {
  // Larger than a fresh model's weights, so that quantizing them shows in the loss.
  const weights = new Map<string, DenseWeight>();
  for (const [name, weight] of initialWeights(config, 5)) {
    const scale = weight.shape.length === 2 ? 4 : 1;
    weights.set(name, { ...weight, data: weight.data.map((w) => w * scale) });
  }
  writeCheckpoint(base, { config, weights }, 'F32');
  const splits = { train: exampleSplit(examples(64, 1)), validation: exampleSplit(examples(12, 2)) };
  writeDataset(data, { meta, splits });
  const stream = (length: number) => ({
    kind: 'text' as const,
    tokens: Int32Array.from({ length }, (_, i) => 1 + (i % 5)),
  });
  writeTextDataset(text, { meta, splits: { train: stream(2000), validation: stream(300) } });
});

afterAll(() => runner.remove());

const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));

describe('quantize', () => {
  it('rounds every weight to 16 bits', async () => {
    const { outputs } = await runner.run(quantize, { params: { precision: 'bf16' }, inputs: { base } });
    const [before, after] = [readCheckpoint(base), readCheckpoint(outputs.model!)];
    for (const [name, { data }] of before.weights) expect(after.weights.get(name)!.data).toEqual(roundToBfloat16(data));
  });

  it('stores whole matrices as codes, and counts what it quantized', async () => {
    const { outputs } = await runner.run(quantize, { params: {}, inputs: { base } });
    const { weights } = readQuantizedCheckpoint(outputs.model!);
    const kinds = [...weights].filter(([, { kind }]) => kind === 'nf4').map(([name]) => name);
    expect(kinds).toHaveLength(4 * config.layers);
    const { quantizedWeights, relativeErrors } = json(outputs.summary!);
    expect(quantizedWeights).toBe(12 * config.width ** 2 * config.layers);
    // NF4's error on normal weights is close to 9 %: (QLoRA, appendix E) the codebook is made for them.
    for (const error of Object.values<number>(relativeErrors)) {
      expect(error).toBeGreaterThan(0.05);
      expect(error).toBeLessThan(0.13);
    }
  });

  it('changes the rows of the chosen family alone, to what its codes stand for', async () => {
    const params = { matrices: 'k', layers: '1' };
    const { outputs } = await runner.run(quantize, { params, inputs: { base } });
    const [before, after] = [readCheckpoint(base), readCheckpoint(outputs.model!)];
    for (const [name, { data }] of before.weights) {
      const expected = roundToBfloat16(data);
      if (name === 'h.1.attn.c_attn.weight') {
        const [start, end] = [config.width ** 2, 2 * config.width ** 2];
        const codes = quantizeWeights(expected.slice(start, end), 64);
        expected.set(dequantize({ ...codes, absmax: dequantizeAbsmax(quantizeAbsmax(codes.absmax)) }), start);
      }
      expect(after.weights.get(name)!.data).toEqual(expected);
    }
  });

  it('refuses a layer that the model does not have, and a block that does not fit', async () => {
    await expect(runner.run(quantize, { params: { layers: '2' }, inputs: { base } })).rejects.toThrow(
      "layers names 2, and the model's layers are 0 to 1",
    );
    await expect(runner.run(quantize, { params: { block: 48 }, inputs: { base } })).rejects.toThrow(
      'blocks of 48 do not divide the 64 inputs',
    );
  });
});

describe('train and evaluate', () => {
  const training = { steps: 40, batch: 8, lr: 0.02, rank: 4, eval_every: 20, targets: 'q+v+mlp' };

  it('learns on a quantized base, gives the same bytes for the same seed, and evaluate measures what it left', async () => {
    const quantized = (await runner.run(quantize, { inputs: { base } })).outputs.model!;
    const run = (seed: number) =>
      runner
        .run(train, { params: { ...training, seed }, inputs: { base: quantized, data } })
        .then(({ outputs }) => outputs);
    const [first, again, other] = [await run(1), await run(1), await run(2)];
    const adapter = (outputs: Record<string, string>) =>
      readFileSync(join(outputs.adapter!, 'adapter_model.safetensors'));
    expect(adapter(first).equals(adapter(again))).toBe(true);
    expect(adapter(first).equals(adapter(other))).toBe(false);

    const inputs = { model: quantized, adapter: first.adapter!, reference: quantized, data };
    const tuned = json((await runner.run(evaluate, { params: { examples: 12 }, inputs })).outputs.metrics!);
    const { adapter: _, ...without } = inputs;
    const untuned = json((await runner.run(evaluate, { params: { examples: 12 }, inputs: without })).outputs.metrics!);
    expect(tuned.loss).toBeLessThan(untuned.loss - 1);
    expect(tuned.loss).toBeCloseTo(json(first.summary!).finalValidationLoss, 4);
    expect(tuned.kl).toBeGreaterThan(0.1);
    expect(untuned.kl).toBe(0);
    expect(untuned.top1Agreement).toBe(1);

    const { memory } = json(first.summary!);
    expect(memory.total).toBe(memory.weights + memory.adapters + memory.optimizer + memory.activations);
    const rows = readFileSync(first.curve!, 'utf8').trim().split('\n');
    expect(rows).toHaveLength(1 + training.steps);
    expect(rows.filter((row) => row.split(',')[4] !== '')).toHaveLength(1 + 2);
  });

  it('measures the loss that plain float64 arithmetic gives', async () => {
    const inputs = { model: base, reference: base, data };
    const { outputs } = await runner.run(evaluate, { params: { examples: 12 }, inputs });
    const { weights } = readCheckpoint(base);
    const rounded = new Map([...weights].map(([name, { data }]) => [name, roundToBfloat16(data)]));
    const length = 12;
    let [sum, count] = [0, 0];
    for (const { tokens, targets } of evaluationBatches(readDataset(data).splits.validation, { batch: 1, length })) {
      const hidden = hiddenStates64(config, rounded, tokens, length);
      const logProbs = tokenLogProbs64(hidden, rounded.get('wte.weight')!, targets, config.width);
      sum -= logProbs.reduce((a, b) => a + b, 0);
      count += targets.filter((target) => target >= 0).length;
    }
    expect(json(outputs.metrics!).loss).toBeCloseTo(sum / count, 5);
  });

  it('generates what a model would without a cache, and says where two models part', async () => {
    const { outputs: tuned } = await runner.run(train, { params: training, inputs: { base, data } });
    const params = { examples: 12, greedy_examples: 6, greedy_tokens: 5 };
    const self = { model: base, adapter: tuned.adapter!, reference: base, reference_adapter: tuned.adapter!, data };
    const { outputs } = await runner.run(evaluate, { params, inputs: self });
    expect(json(outputs.metrics!)).toMatchObject({ greedyMatch: 1, top1Agreement: 1, kl: 0, greedyExamples: 6 });
    const other = await runner.run(evaluate, { params, inputs: { ...self, reference_adapter: undefined } as never });
    const apart = json(other.outputs.metrics!);
    expect(apart.greedyMatch).toBeLessThan(1);
    expect(apart.firstDivergence).toBeLessThan(5);
  });

  it('leaves out what needs a reference when there is none', async () => {
    const params = { examples: 12, greedy_examples: 3, greedy_tokens: 4 };
    const { outputs } = await runner.run(evaluate, { params, inputs: { model: base, data } });
    const beside = await runner.run(evaluate, { params, inputs: { model: base, reference: base, data } });
    const [alone, { loss, exactMatch }] = [json(outputs.metrics!), json(beside.outputs.metrics!)];
    expect(alone).toMatchObject({ loss, exactMatch, kl: null, top1Agreement: null, embeddingCosine: null });
    expect(alone).toMatchObject({ greedyMatch: null, firstDivergence: null });
  });

  it('refuses data of another vocabulary, and prompts that leave no room', async () => {
    const foreign = join(home, 'foreign');
    writeDataset(foreign, { meta: { ...meta, vocabSize: 97 }, splits: readDataset(data).splits });
    await expect(runner.run(train, { params: training, inputs: { base, data: foreign } })).rejects.toThrow(
      'tokenized for a vocabulary of 97, and the model has 96',
    );
    const params = { examples: 2, greedy_examples: 2, greedy_tokens: 31 };
    await expect(runner.run(evaluate, { params, inputs: { model: base, reference: base, data } })).rejects.toThrow(
      "the model's context holds 32: lower greedy_tokens or max_length",
    );
  });

  it('says so when the loss stops being a number', async () => {
    const huge = join(home, 'huge');
    const { weights } = readCheckpoint(base);
    const gain = weights.get('ln_f.weight')!;
    const broken = new Map([...weights, ['ln_f.weight', { ...gain, data: gain.data.map(() => 3e38) }]]);
    writeCheckpoint(huge, { config, weights: broken as typeof weights }, 'F32');
    await expect(runner.run(train, { params: training, inputs: { base: huge, data } })).rejects.toThrow(
      /the loss is (NaN|Infinity).* at step 1: lower lr/,
    );
  });
});

describe('pretrain', () => {
  it('learns a text that repeats itself, and writes a checkpoint that evaluates as it ended', async () => {
    const params = {
      layers: 1,
      width: 32,
      heads: 2,
      context: 16,
      length: 16,
      steps: 60,
      batch: 4,
      lr: 0.01,
      warmup: 5,
      eval_every: 60,
    };
    const { outputs } = await runner.run(pretrain, { params, inputs: { data: text, tokenizer: home } });
    const rows = readFileSync(outputs.curve!, 'utf8')
      .trim()
      .split('\n')
      .slice(1)
      .map((row) => row.split(',').map(Number));
    expect(rows[0]![1]).toBeGreaterThan(4);
    expect(rows.at(-1)![4]).toBeLessThan(0.2);
    expect(readCheckpoint(outputs.model!).config).toMatchObject({
      layers: 1,
      width: 32,
      contextLength: 16,
      vocabSize: 96,
    });
  });
});

describe('what the stages share', () => {
  it('reads sets of matrices in any order', () => {
    expect(parseTargets('v+q')).toEqual(['q', 'v']);
    expect(parseTargets('attention+mlp')).toEqual(parseTargets('all'));
    expect(() => parseTargets('q+values')).toThrow(
      "'values' in 'q+values' names no matrices: join names out of q, k, v",
    );
  });

  it('warms up to the peak and decays to a tenth of it', () => {
    for (const kind of ['linear', 'cosine'] as const) {
      const schedule = { kind, peak: 2, steps: 100, warmup: 10 };
      expect(learningRate(schedule, 5)).toBe(1);
      expect(learningRate(schedule, 10)).toBe(2);
      expect(learningRate(schedule, 55)).toBeCloseTo(1.1, 10);
      expect(learningRate(schedule, 100)).toBeCloseTo(0.2, 10);
    }
  });

  it('centres embeddings before it compares them', () => {
    const pair = (model: number[], reference: number[]) => ({
      model: Float64Array.from(model),
      reference: Float64Array.from(reference),
    });
    // Around the mean (10, 0): the first model agrees, the second points the other way.
    const pairs = [pair([12, 0], [11, 0]), pair([11, 0], [9, 0])];
    expect(centredCosine(pairs)).toBe(0);
    expect(centredCosine([pairs[0]!])).toBeNull();
  });
});
