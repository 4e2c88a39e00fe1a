/** The stages quantize, train, evaluate and pretrain, on a toy GPT-2 made here. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { evaluationBatches } from '../model/batches.ts';
import { type DenseWeight, readCheckpoint, writeCheckpoint } from '../model/checkpoint.ts';
import { exampleSplit, readDataset, writeDataset, writeTextDataset } from '../model/dataset.ts';
import { roundToBfloat16 } from '../model/float16.ts';
import { initialWeights } from '../model/initial.ts';
import {
  dequantize,
  dequantizeAbsmax,
  quantizeAbsmax,
  quantizedValues,
  quantize as quantizeWeights,
} from '../model/nf4.ts';
import { readQuantizedCheckpoint } from '../model/quantized_checkpoint.ts';
import { Random } from '../model/random.ts';
import { writeChoice } from '../stages/choose-bits/choice.ts';
import { centredCosines } from '../stages/evaluate/cosine.ts';
import { TeacherForced } from '../stages/evaluate/teacher_forced.ts';
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

/** The columns of a loss curve. */
function losses(curve: string) {
  const rows = readFileSync(curve, 'utf8').trim().split('\n').slice(1);
  const cells = rows.map((row) => row.split(','));
  return {
    training: cells.map((row) => Number(row[1])),
    rates: cells.map((row) => Number(row[2])),
    validation: cells.map((row) => (row[4] === '' ? null : Number(row[4]))),
  };
}

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

  it('stores what has no codes by value: 8 bits, and a matrix of two widths; bytes are those of the packed format', async () => {
    const choice = join(home, 'choice.json');
    writeChoice(choice, { q: 8, k: 4, v: 4, o: 8 }, {});
    const { outputs } = await runner.run(quantize, { params: { bits: 2 }, inputs: { base, choice } });
    const { weights } = readQuantizedCheckpoint(outputs.model!);
    const kinds = ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'].map(
      (matrix) => weights.get(`h.0.${matrix}.weight`)!.kind,
    );
    expect(kinds).toEqual(['dense', 'dense', 'nf4', 'nf4']);
    const plane = config.width ** 2;
    const source = roundToBfloat16(readCheckpoint(base).weights.get('h.0.attn.c_attn.weight')!.data);
    const rows = ([8, 4, 4] as const).map((bits, i) =>
      quantizedValues(source.slice(i * plane, (i + 1) * plane), 64, bits, true),
    );
    const stored = weights.get('h.0.attn.c_attn.weight') as DenseWeight;
    expect([0, 1, 2].map((i) => stored.data.slice(i * plane, (i + 1) * plane))).toEqual(rows);
    // Of 12 planes a layer, 2 have 8 bits, 2 have 4, and 8 have 2; 64 scales of one byte and a nested scale for each family's rows.
    const { packedBytes, meanBits } = json(outputs.summary!);
    expect(meanBits).toBe((2 * 8 + 2 * 4 + 8 * 2) / 12);
    const everything = [...weights.keys()].reduce(
      (sum, name) => sum + readCheckpoint(base).weights.get(name)!.data.length,
      0,
    );
    const scales = 12 * 64 + 6 * 4;
    const perLayer = 12 * plane * (meanBits / 8) + scales;
    expect(packedBytes).toBe(2 * (everything - config.layers * 12 * plane) + config.layers * perLayer);
  });

  it.each([
    [2, true],
    [3, true],
    [4, false],
  ])(
    'stores codes of %i bits, scales quantized too: %s, and evaluate computes with what they stand for',
    async (bits, double_quantization) => {
      const params = { bits, double_quantization };
      const { outputs } = await runner.run(quantize, { params, inputs: { base } });
      const { weights } = readQuantizedCheckpoint(outputs.model!);
      const expanded = new Map<string, DenseWeight>();
      for (const [name, weight] of weights) {
        if (weight.kind === 'dense') {
          expanded.set(name, weight);
          continue;
        }
        expect(weight.absmax instanceof Float32Array).toBe(!double_quantization);
        expect(new Set([...weight.codes].flatMap((byte) => [byte >> 4, byte & 15])).size).toBe(2 ** bits);
        const absmax = weight.absmax instanceof Float32Array ? weight.absmax : dequantizeAbsmax(weight.absmax);
        expanded.set(name, { kind: 'dense', shape: weight.shape, data: dequantize({ ...weight, absmax }) });
      }
      const dense = join(home, `dense-${bits}`);
      writeCheckpoint(dense, { config, weights: expanded }, 'BF16');
      const inputs = { model: outputs.model!, reference: dense, data };
      const metrics = json((await runner.run(evaluate, { params: { examples: 12 }, inputs })).outputs.metrics!);
      expect(metrics).toMatchObject({ kl: expect.closeTo(0, 9), top1Agreement: 1 });
      const plain = json(
        (await runner.run(evaluate, { params: { examples: 12 }, inputs: { model: base, data } })).outputs.metrics!,
      );
      expect(Math.abs(metrics.loss - plain.loss)).toBeGreaterThan(1e-3);
    },
  );

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

  it('drops out what adapters read, in training alone, and says so and what the base was in the adapter', async () => {
    const quantized = (await runner.run(quantize, { inputs: { base } })).outputs.model!;
    const run = async (base: string, dropout: number) => {
      const params = { ...training, steps: 5, eval_every: 5, dropout };
      const { outputs } = await runner.run(train, { params, inputs: { base, data } });
      const config = json(join(outputs.adapter!, 'adapter_config.json'));
      const evaluated = await runner.run(evaluate, {
        params: { examples: 12 },
        inputs: { model: base, adapter: outputs.adapter!, data },
      });
      return { config, losses: losses(outputs.curve!), last: json(evaluated.outputs.metrics!).loss };
    };
    const [plain, dropped, again] = [await run(base, 0), await run(quantized, 0.5), await run(quantized, 0.5)];
    expect(plain.config).toMatchObject({ lora_dropout: 0, fan_in_fan_out: true });
    expect(dropped.config).toMatchObject({ lora_dropout: 0.5, fan_in_fan_out: false });
    expect(dropped.losses).toEqual(again.losses);
    const kept = await run(quantized, 0);
    // B is zero at first, so the first loss is that of the base, whatever adapters read.
    expect(dropped.losses.training[0]).toBe(kept.losses.training[0]);
    expect(dropped.losses.training.slice(1)).not.toEqual(kept.losses.training.slice(1));
    expect(dropped.losses.validation).toEqual([null, null, null, null, expect.closeTo(dropped.last, 4)]);
  });

  it('computes blocks of layers again for the same adapter, to the bit, in less memory', async () => {
    const run = async (rematerialize: string) => {
      const params = { ...training, steps: 3, rematerialize };
      const { outputs } = await runner.run(train, { params, inputs: { base, data } });
      const weights = readFileSync(join(outputs.adapter!, 'adapter_model.safetensors'));
      return { weights, memory: JSON.parse(readFileSync(outputs.summary!, 'utf8')).memory.activations as number };
    };
    const [kept, again] = [await run('none'), await run('block')];
    expect(again.weights.equals(kept.weights)).toBe(true);
    expect(again.memory).toBeLessThan(kept.memory);
  });

  it('measures the held-out loss after every so many steps and after the last, and changes nothing by it', async () => {
    const run = async (eval_every: number) => {
      const params = { ...training, steps: 7, warmup: 2, schedule: 'constant', eval_every };
      return losses((await runner.run(train, { params, inputs: { base, data } })).outputs.curve!);
    };
    const [often, once] = [await run(3), await run(100)];
    const measured = ({ validation }: typeof often) => validation.flatMap((loss, i) => (loss === null ? [] : [i + 1]));
    expect(measured(often)).toEqual([3, 6, 7]);
    expect(measured(once)).toEqual([7]);
    expect(often.training).toEqual(once.training);
    expect(often.rates).toEqual([0.01, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02]);
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
    expect(alone).toMatchObject({
      loss: expect.closeTo(loss, 6),
      exactMatch,
      kl: null,
      top1Agreement: null,
      embeddingCosine: null,
    });
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

  it('refuses examples that are longer than the context, and a split without any', async () => {
    const made = (name: string, validation: ReturnType<typeof examples>) => {
      const folder = join(home, name);
      writeDataset(folder, {
        meta,
        splits: { train: exampleSplit(examples(8, 1)), validation: exampleSplit(validation) },
      });
      return folder;
    };
    const long = made('long', [{ tokens: new Int32Array(34).fill(1), promptLength: 3 }]);
    const none = made('none', []);
    for (const [inputs, reason] of [
      [{ data: long }, "the longest example has 34 tokens, and the model's context 32: tokenize with max_length 32"],
      [{ data: none }, 'a split of the data set holds no examples'],
    ] as const) {
      await expect(runner.run(evaluate, { inputs: { model: base, ...inputs } })).rejects.toThrow(reason);
      await expect(runner.run(train, { params: training, inputs: { base, ...inputs } })).rejects.toThrow(reason);
    }
  });

  it('generates up to the last position of the context', async () => {
    const prompts = readDataset(data).splits.validation;
    const longest = Math.max(...[0, 1].map((i) => prompts.example(i).promptLength));
    const greedy = (greedy_tokens: number) =>
      runner.run(evaluate, { params: { greedy_examples: 2, greedy_tokens }, inputs: { model: base, data } });
    await expect(greedy(32 - longest + 2)).rejects.toThrow('takes 33 positions');
    expect(json((await greedy(32 - longest + 1)).outputs.metrics!).greedyExamples).toBe(2);
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
    await expect(runner.run(evaluate, { inputs: { model: huge, data } })).rejects.toThrow(
      /the held-out loss is (NaN|Infinity) .*: the model, its adapter or the reference computes what is not a number/,
    );
    await expect(runner.run(evaluate, { inputs: { model: base, reference: huge, data } })).rejects.toThrow(
      /and the KL (NaN|Infinity)/,
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

describe('pretrain, given what it cannot do', () => {
  it('refuses bf16 on the CPU, which would compute it in float32', async () => {
    const params = { layers: 1, width: 32, heads: 2, context: 16, length: 16, steps: 1, batch: 1, precision: 'bf16' };
    await expect(runner.run(pretrain, { params, inputs: { data: text, tokenizer: home } })).rejects.toThrow(
      'precision bf16 needs a GPU, and this runs on the CPU: run with --device cuda, or set it to float32',
    );
  });

  it('names the split that has no whole sequence', async () => {
    const params = { layers: 1, width: 32, heads: 2, context: 512, length: 300, steps: 1, batch: 1 };
    await expect(runner.run(pretrain, { params, inputs: { data: text, tokenizer: home } })).rejects.toThrow(
      'the validation split has 300 tokens, too few for a sequence of 300 and the token after it',
    );
  });
});

describe('what the stages share', () => {
  it('reads sets of matrices in any order', () => {
    expect(parseTargets('v+q')).toEqual(['q', 'v']);
    expect(parseTargets('vq+fc')).toEqual(['q', 'v', 'fc']);
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

  it('warms up from the first step, stays at the peak if it is constant, and may never warm up or never end it', () => {
    const rates = (kind: 'constant' | 'linear' | 'cosine', steps: number, warmup: number) =>
      Array.from({ length: steps }, (_, i) => learningRate({ kind, peak: 1, steps, warmup }, i + 1));
    expect(rates('constant', 4, 2)).toEqual([0.5, 1, 1, 1]);
    expect(rates('linear', 3, 0)).toEqual([0.7, 0.4, 0.1].map((rate) => expect.closeTo(rate, 12)));
    expect(rates('cosine', 2, 4)).toEqual([0.25, 0.5]);
    // A cosine falls slowest at both ends: by its definition, (1 + cos(pi / 4)) / 2 of the way is left after a quarter.
    expect(rates('cosine', 4, 0)[0]).toBeCloseTo(0.1 + (0.9 * (1 + Math.SQRT1_2)) / 2, 12);
  });

  it('weights losses by tokens, and counts agreement by how sure the reference is', () => {
    const forced = new TeacherForced({ ...config, vocabSize: 2, width: 1 });
    const measures = [
      { logProb: Math.log(0.5), compared: { agrees: true, margin: Math.log(9), kl: 0.4 } },
      { logProb: Math.log(0.8), compared: { agrees: true, margin: Math.log(4), kl: 0 } },
      { logProb: Math.log(0.8), compared: { agrees: true, margin: Math.log(4), kl: 0 } },
      { logProb: Math.log(0.8), compared: { agrees: false, margin: Math.log(4), kl: 0.8 } },
    ];
    // Two examples of three rows: one target in the first, three in the second, and padding, which is no example.
    const targets = Int32Array.from([-1, -1, 0, 1, 1, 1, -1, -1, -1]);
    const hidden = { model: new Float32Array(9), reference: new Float32Array(9) };
    forced.add({ measures, targets, length: 3, hidden });
    const metrics = forced.metrics();
    expect(metrics.lossPerExample).toEqual([expect.closeTo(Math.log(2), 6), expect.closeTo(-Math.log(0.8), 6)]);
    expect(metrics.tokensPerExample).toEqual([1, 3]);
    const loss = (Math.log(2) - 3 * Math.log(0.8)) / 4;
    expect(metrics).toMatchObject({ examples: 2, tokens: 4, loss: expect.closeTo(loss, 6) });
    expect(metrics.perplexity).toBeCloseTo(Math.exp(loss), 6);
    expect(metrics.uniformLoss).toBe(Math.LN2);
    expect(metrics.kl).toBeCloseTo(1.2 / 4, 12);
    expect(metrics.klPerExample).toEqual([0.4, expect.closeTo(0.8 / 3, 12)]);
    expect(metrics.top1Agreement).toBe(0.75);
    expect(metrics.agreementPerExample).toEqual([1, expect.closeTo(2 / 3, 12)]);
    // The reference's margins are ln 9 and three times ln 4, all between 1 and 3 nats.
    expect(metrics.agreementByMargin!.filter(({ tokens }) => tokens > 0)).toEqual([
      { from: 1, to: 3, tokens: 4, agreed: 3 },
    ]);
  });

  it('centres embeddings before it compares them', () => {
    const pair = (model: number[], reference: number[]) => ({
      model: Float64Array.from(model),
      reference: Float64Array.from(reference),
    });
    // Around the mean (10, 0): the first model agrees, the second points the other way.
    const pairs = [pair([12, 0], [11, 0]), pair([11, 0], [9, 0])];
    expect(centredCosines(pairs)).toEqual([1, -1]);
    expect(centredCosines([pairs[0]!])).toBeNull();
  });
});
