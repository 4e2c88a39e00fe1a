import { beforeAll, describe, expect, test } from 'vitest';
import { load } from '../compile/executable.ts';
import { trace } from '../compile/trace.ts';
import { EagerScope } from '../model/eager_scope.ts';
import { decodeStep, loraTrainingStep, pretrainingStep } from '../model/steps.ts';
import { tf, useBackend } from '../model/tf.ts';
import {
  adamw,
  bases,
  config,
  contents,
  everywhere,
  lora,
  shape,
  statesOf,
  writeContents,
} from './support/compiled.ts';
import { logitsStep } from './support/logits_step.ts';
import { toyWeights } from './support/toy.ts';

const step = (number: number) => Float32Array.of(1e-3, number);

beforeAll(() => useBackend('cpu'));

describe.each(Object.entries(bases))('a LoRA step on a base of %s', (_, matrix) => {
  test('replayed on TF.js gives what running it eagerly gives, to the bit, over three steps', async () => {
    const options = { ...shape, config, lora, adamw, matrices: everywhere(matrix), dropout: { rate: 0.1, seed: 7 } };
    const training = loraTrainingStep(options);
    const content = contents(matrix);
    const eager = new EagerScope(content);
    const replayed = await load(trace('lora', training), { device: 'tfjs-cpu' });
    writeContents(replayed, content);
    for (let number = 1; number <= 3; number++) {
      if (number > 1) eager.write('hyper', step(number));
      if (number > 1) eager.write('step', Int32Array.of(number));
      replayed.write('hyper', step(number));
      replayed.write('step', Int32Array.of(number));
      const outputs = eager.run(training);
      replayed.run();
      for (const [name, value] of Object.entries(outputs)) expect(replayed.read(name), name).toEqual(value);
      for (const name of statesOf(replayed)) expect(replayed.read(name), name).toEqual(eager.read(name));
    }
    replayed.dispose();
  });
});

test('a pretraining step, replayed, gives what running it eagerly gives', async () => {
  const training = pretrainingStep({ ...shape, config, adamw });
  const content = contents(bases.bf16);
  for (const [name, value] of toyWeights(config)) content.set(name, value);
  const eager = new EagerScope(content);
  const replayed = await load(trace('pretrain', training), { device: 'tfjs-cpu' });
  writeContents(replayed, content);
  const outputs = eager.run(training);
  replayed.run();
  expect(replayed.read('loss')).toEqual(outputs.loss);
  for (const name of statesOf(replayed)) expect(replayed.read(name), name).toEqual(eager.read(name));
  replayed.dispose();
});

test('decoding token by token, replayed, gives the logits of the whole text', async () => {
  const matrix = bases['nf4, doubly'];
  const content = contents(matrix);
  const frozen = { config, lora, matrices: everywhere(matrix) };
  const whole = await load(trace('logits', logitsStep({ ...frozen, ...shape })), { device: 'tfjs-cpu' });
  writeContents(whole, content);
  whole.run();
  const logits = whole.read('logits');
  const decoding = await load(trace('decode', decodeStep({ ...frozen, batch: shape.batch, capacity: 12 })), {
    device: 'tfjs-cpu',
  });
  content.delete('tokens');
  content.delete('positions');
  writeContents(decoding, content);
  const tokens = contents(matrix).get('tokens')!;
  for (let t = 0; t < shape.length; t++) {
    decoding.write(
      'tokens',
      Int32Array.from({ length: shape.batch }, (_, b) => tokens[b * shape.length + t]!),
    );
    decoding.write('positions', new Int32Array(shape.batch).fill(t));
    decoding.run();
    const got = decoding.read('logits');
    for (let b = 0; b < shape.batch; b++) {
      const row = (b * shape.length + t) * config.vocabSize;
      for (let v = 0; v < config.vocabSize; v++) expect(got[b * config.vocabSize + v]).toBeCloseTo(logits[row + v]!, 4);
    }
  }
  whole.dispose();
  decoding.dispose();
});

test('an executable leaves nothing behind in TF.js, and cannot be used once disposed', async () => {
  const before = tf.memory();
  const program = trace(
    'lora',
    loraTrainingStep({
      ...shape,
      config,
      lora,
      adamw,
      matrices: everywhere(bases.bf16),
      dropout: { rate: 0, seed: 0 },
    }),
  );
  for (let round = 0; round < 2; round++) {
    const executable = await load(program, { device: 'tfjs-cpu' });
    writeContents(executable, contents(bases.bf16));
    executable.run();
    const between = tf.memory().numTensors;
    executable.run();
    expect(tf.memory().numTensors).toBe(between);
    executable.dispose();
    executable.dispose();
    expect(() => executable.run()).toThrow(/disposed/);
  }
  expect(tf.memory()).toMatchObject({ numTensors: before.numTensors, numBytes: before.numBytes });
});

test('names, types and sizes that do not fit are refused, with what would fit', async () => {
  const program = trace('logits', logitsStep({ ...shape, config, matrices: everywhere(bases.bf16) }));
  const executable = await load(program, { device: 'tfjs-cpu' });
  expect(() => executable.write('tokns', new Int32Array(33))).toThrow(
    /program 'logits' has no input, weight or state 'tokns'/,
  );
  expect(() => executable.write('tokens', new Float32Array(33))).toThrow(
    /'tokens' as int32: write it from a Int32Array/,
  );
  expect(() => executable.write('tokens', new Int32Array(3))).toThrow(
    /needs 33 values for 'tokens' \[3, 11\], and 3 were given/,
  );
  expect(() => executable.read('loss')).toThrow(/no output, .* 'loss' to read; its outputs are logits, hidden/);
  executable.write('wte.weight', new Float32Array(config.vocabSize * config.width).fill(1.001));
  expect(executable.read('wte.weight')[0]).toBe(1);
  executable.dispose();
});
