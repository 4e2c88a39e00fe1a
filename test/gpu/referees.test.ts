/**
 * Programs that are not ours, asked about our files and numbers: transformers, PEFT, torch, and a reading of bitsandbytes' layout in
 * numpy. GPT-2 Medium's shape on a GPU; without one a small shape on the CPU, in float32 and to tighter bounds.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, load } from '../../compile/executable.ts';
import type { Executable } from '../../compile/program.ts';
import { trace } from '../../compile/trace.ts';
import { writeAdapter } from '../../model/adapter.ts';
import { type Gpt2Config, publishedConfigs } from '../../model/config.ts';
import type { Family } from '../../model/gpt2.ts';
import { adapterShapes, initialAdapters, type LoraConfig } from '../../model/lora.ts';
import { dequantize, dequantizeAbsmax } from '../../model/nf4.ts';
import { readQuantizedCheckpoint } from '../../model/quantized_checkpoint.ts';
import { Random } from '../../model/random.ts';
import { openSafetensors, writeSafetensors } from '../../model/safetensors.ts';
import { loraTrainingStep } from '../../model/steps.ts';
import quantize from '../../stages/quantize.ts';
import { rowPositions } from '../../stages/shared/executables.ts';
import { type FrozenModel, readModel } from '../../stages/shared/model_folder.ts';
import { relativeError } from '../support/float64.ts';
import { logitsStep } from '../support/logits_step.ts';
import { openWorkshop } from '../support/stages.ts';
import { gpuUnavailable } from './device.ts';
import { pythonUnavailable, referee } from './python.ts';

interface Place {
  readonly device: Device;
  readonly config: Gpt2Config;
  /** Layers that the NF4 folder quantizes. */
  readonly layers: string;
  /** Largest relative error of logits, and of a step's loss. */
  readonly bounds: { readonly logits: number; readonly loss: number };
}

const onCpu: Place = {
  device: 'cpu-native',
  config: { vocabSize: 1000, contextLength: 128, width: 128, layers: 3, heads: 4, epsilon: 1e-5 },
  layers: 'all',
  bounds: { logits: 1e-4, loss: 1e-3 },
};
const onH200: Place = {
  device: 'cuda',
  config: publishedConfigs['gpt2-medium'],
  layers: '0,11,23',
  bounds: { logits: 2e-2, loss: 1e-2 },
};
const { device, config, layers, bounds } = gpuUnavailable === undefined ? onH200 : onCpu;
const shape = { batch: 4, length: 128 };
const adamw = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01, maxNorm: 1 };

const unavailable = pythonUnavailable();
if (unavailable === undefined)
  console.log(`referees: GPT-2 of ${config.layers} layers of ${config.width} on ${device}`);
else console.warn(`the referees' tests are skipped: ${unavailable}`);

const workshop = openWorkshop();
afterAll(() => workshop.remove());
const path = (name: string) => join(workshop.folder, name);
const base = path('base');

describe.skipIf(unavailable !== undefined)('on a checkpoint that transformers wrote', () => {
  const random = new Random(5, 'tokens');
  const tokens = Int32Array.from({ length: shape.batch * shape.length }, () => random.integer(config.vocabSize));
  let model: FrozenModel;
  let ofBase: Float32Array;

  beforeAll(async () => {
    const { vocabSize, contextLength, width, heads } = config;
    const sizes = {
      vocab_size: vocabSize,
      n_positions: contextLength,
      n_embd: width,
      n_layer: config.layers,
      n_head: heads,
    };
    await referee('checkpoint', { folder: base, sizes, seed: 0 });
    model = readModel(base);
    expect(model.config).toEqual(config);
    ofBase = await logitsOf(model, tokens);
  });

  test('our logits are those of transformers', async () => {
    await expectSameLogits('base', ofBase, tokens);
  });

  // At the first's rate, adapters on every matrix soon say the same few tokens everywhere, so that the best ones are nearly tied.
  const trained: readonly { readonly targets: readonly Family[]; readonly rate: number }[] = [
    { targets: ['q', 'v'], rate: 5e-4 },
    { targets: ['q', 'k', 'v', 'o', 'fc', 'proj'], rate: 1e-4 },
  ];
  test.each(trained.map((each) => [each.targets.join('+'), each] as const))(
    'an adapter that we train on %s does in PEFT what it does here',
    async (name, { targets, rate }) => {
      const lora: LoraConfig = { rank: 8, alpha: 16, targets };
      const { tensors } = await trainLora(model, lora, markovText(4), rate);
      const adapter = path(`adapter ${name}`);
      writeAdapter(adapter, { config, lora, tensors }, { base });
      const adapted = await logitsOf(readModel(base, adapter), tokens);
      const effect = relativeError(adapted, ofBase);
      console.log(`the adapter on ${name} changes logits by ${percent(effect)}`);
      expect(effect).toBeGreaterThan(2 * bounds.logits);
      await expectSameLogits(name, adapted, tokens, adapter);
    },
  );

  test('an NF4 folder that we write means the same weights to a reader of bitsandbytes’ layout', async () => {
    const { outputs } = await workshop.run(quantize, { params: { layers }, inputs: { base } });
    const out = path('dequantized.safetensors');
    const { matrices, bitsandbytes } = await referee('nf4', { folder: outputs.model!, source: base, out });
    const theirs = openSafetensors(out);
    const quantized = [...readQuantizedCheckpoint(outputs.model!).weights].flatMap(([name, weight]) =>
      weight.kind === 'nf4' ? [[name, weight] as const] : [],
    );
    expect(matrices).toBe(4 * (layers === 'all' ? config.layers : layers.split(',').length));
    expect([...theirs.tensors.keys()].sort()).toEqual(quantized.map(([name]) => name).sort());
    let weights = 0;
    let different = 0;
    for (const [name, weight] of quantized) {
      if (weight.absmax instanceof Float32Array) throw new Error(`the scales of ${name} are not quantized`);
      const ours = dequantize({ ...weight, absmax: dequantizeAbsmax(weight.absmax) });
      const { shape, data } = theirs.readFloat32(name);
      expect(shape).toEqual(weight.shape);
      weights += ours.length;
      for (let i = 0; i < ours.length; i++) if (!Object.is(ours[i], data[i])) different++;
    }
    console.log(`NF4: ${different} of ${weights} weights differ; bitsandbytes itself: ${JSON.stringify(bitsandbytes)}`);
    expect(different).toBe(0);
  });

  test('200 steps of LoRA have the losses that torch’s have', async () => {
    const lora: LoraConfig = { rank: 8, alpha: 16, targets: ['q', 'k', 'v'] };
    const rate = 2e-4; // as in the study
    const text = markovText(200);
    const rows = { steps: 200, batch: shape.batch, length: shape.length + 1 };
    const [batches, adapters] = [path('batches.safetensors'), path('initial.safetensors')];
    const tokens = { dtype: 'I32' as const, shape: Object.values(rows), data: text };
    writeSafetensors(batches, new Map([['tokens', tokens]]), {});
    const initial = initialAdapters(config, lora, 1);
    const shapes = adapterShapes(config, lora);
    writeSafetensors(
      adapters,
      new Map(Array.from(initial, ([name, data]) => [name, { dtype: 'F32', shape: shapes.get(name)!, data }])),
      {},
    );
    const ours = await trainLora(model, lora, text, rate);
    const theirs = await referee('train', { folder: base, adapters, batches, lora, adamw: { ...adamw, rate } });
    const errorsOf = (losses: readonly number[]) => losses.map((loss, i) => Math.abs(loss / theirs.losses[i]! - 1));
    const errors = errorsOf(ours.losses);
    const autocast = errorsOf(theirs.autocast);
    const worst = errors.indexOf(Math.max(...errors));
    const [first, last] = [theirs.losses[0]!, theirs.losses.at(-1)!];
    console.log(
      `LoRA, 200 steps: loss ${first.toFixed(4)} to ${last.toFixed(4)} in torch, to ${ours.losses.at(-1)!.toFixed(4)} here; ` +
        `largest difference ${percent(errors[worst]!)} at step ${worst + 1}, mean ${percent(mean(errors))}; ` +
        `torch's own bf16: ${percent(Math.max(...autocast))}, ${percent(mean(autocast))}`,
    );
    expect(ours.losses).toHaveLength(theirs.losses.length);
    expect(last).toBeLessThan(first - 1);
    expect(errors[worst]).toBeLessThanOrEqual(bounds.loss);
  });
});

/** Compares logits [N, V] with those of transformers, or of PEFT where there is an adapter, and prints how they agree. */
async function expectSameLogits(name: string, ours: Float32Array, tokens: Int32Array, adapter?: string): Promise<void> {
  const out = path(`${name}.safetensors`);
  const rows = Array.from({ length: shape.batch }, (_, b) => [
    ...tokens.subarray(b * shape.length, (b + 1) * shape.length),
  ]);
  const request = { folder: base, tokens: rows, out, ...(adapter === undefined ? {} : { adapter }) };
  const { autocast_error, autocast_top1 } = await referee('logits', request);
  const theirs = openSafetensors(out).readFloat32('logits').data;
  const error = relativeError(ours, theirs);
  const deviation = relativeDeviation(ours, theirs);
  const [best, expected] = [bestTokens(ours), bestTokens(theirs)];
  const same = mean(best.map((token, i) => (token === expected[i] ? 1 : 0)));
  console.log(
    `logits, ${name}: relative error ${error.toExponential(2)}, in the norm ${deviation.toExponential(2)}, the same best token at ${percent(same)} of ${best.length} ` +
      `positions (${new Set(expected).size} different ones); torch's own bf16: ${autocast_error.toExponential(2)}, ${percent(autocast_top1)}`,
  );
  expect(error).toBeLessThanOrEqual(bounds.logits);
  expect(deviation).toBeLessThanOrEqual(bounds.logits);
  expect(same).toBeGreaterThanOrEqual(0.99);
}

/** |actual - expected| / |expected|, in the Euclidean norm. */
function relativeDeviation(actual: Float32Array, expected: Float32Array): number {
  let [difference, size] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

/** The likeliest token of each row. */
function bestTokens(logits: Float32Array): number[] {
  return Array.from({ length: logits.length / config.vocabSize }, (_, row) => {
    const scores = logits.subarray(row * config.vocabSize, (row + 1) * config.vocabSize);
    let best = 0;
    for (let token = 1; token < scores.length; token++) if (scores[token]! > scores[best]!) best = token;
    return best;
  });
}

/** All logits of a text, [N, V]. */
async function logitsOf(model: FrozenModel, tokens: Int32Array): Promise<Float32Array> {
  const executable = await load(trace('logits', logitsStep({ ...model, ...shape })), { device });
  model.writeTo(executable);
  executable.write('tokens', tokens);
  executable.write('positions', rowPositions(shape.batch, shape.length));
  executable.run();
  const logits = executable.read('logits') as Float32Array;
  executable.dispose();
  return logits;
}

/** Trains fresh adapters on a text of markovText, a batch a step. */
async function trainLora(
  base: FrozenModel,
  lora: LoraConfig,
  text: Int32Array,
  rate: number,
): Promise<{ losses: number[]; tensors: Map<string, Float32Array> }> {
  const { matrices } = base;
  const step = loraTrainingStep({ config, matrices, lora, adamw, dropout: { rate: 0, seed: 0 }, ...shape });
  const executable = await load(trace('train', step), { device });
  base.writeTo(executable);
  for (const [name, values] of initialAdapters(config, lora, 1)) executable.write(name, values);
  executable.write('positions', rowPositions(shape.batch, shape.length));
  const losses: number[] = [];
  const size = shape.batch * (shape.length + 1);
  for (let number = 1; number <= text.length / size; number++) {
    writeBatch(executable, text.subarray((number - 1) * size, number * size));
    executable.write('hyper', Float32Array.of(rate, number));
    executable.run();
    losses.push(executable.read('loss')[0]!);
  }
  const tensors = new Map(
    Array.from(adapterShapes(config, lora), ([name]) => [name, executable.read(name) as Float32Array]),
  );
  executable.dispose();
  return { losses, tensors };
}

/** Rows of length + 1 tokens: all but the last are read, all but the first are targets. */
function writeBatch(executable: Executable, rows: Int32Array): void {
  const [tokens, targets] = [0, 1].map((shift) =>
    Int32Array.from(
      { length: shape.batch * shape.length },
      (_, i) => rows[Math.floor(i / shape.length) * (shape.length + 1) + (i % shape.length) + shift]!,
    ),
  );
  executable.write('tokens', tokens!);
  executable.write('targets', targets!);
}

/** Text [steps, batch, length + 1] of a Markov chain on 64 tokens, each followed by one of four, the first two in three times. */
function markovText(steps: number): Int32Array {
  const random = new Random(9, 'markov');
  const states = Int32Array.from({ length: 64 }, () => random.integer(config.vocabSize));
  const next = Array.from(states, () => Array.from({ length: 4 }, () => random.integer(states.length)));
  let state = 0;
  return Int32Array.from({ length: steps * shape.batch * (shape.length + 1) }, () => {
    state = next[state]![random.uniform() < 2 / 3 ? 0 : 1 + random.integer(3)]!;
    return states[state]!;
  });
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(3)} %`;
}
