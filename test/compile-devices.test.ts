import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Device, load } from '../compile/executable.ts';
import type { HostData } from '../compile/host_access.ts';
import { loadNative, type NativeExecutable } from '../compile/native_executable.ts';
import { optimize } from '../compile/optimize.ts';
import { planMemory } from '../compile/plan.ts';
import type { Executable, Program } from '../compile/program.ts';
import { loadTfjs } from '../compile/tfjs_executable.ts';
import { trace } from '../compile/trace.ts';
import { adapterShapes } from '../model/lora.ts';
import { decodeStep, loraTrainingStep, pretrainingStep } from '../model/steps.ts';
import { tf } from '../model/tf.ts';
import {
  adamw,
  bases,
  config,
  contents,
  everywhere,
  lora,
  runStep,
  shape,
  statesOf,
  writeContents,
} from './support/compiled.ts';
import { relativeError } from './support/float64.ts';
import { likeliestOf, logitsStep } from './support/logits_step.ts';
import { exactSteps, runTwice, stepOf } from './support/random_steps.ts';
import { toyWeights } from './support/toy.ts';

const tolerance = 1e-4;
const native = nativeOf(trace('probe', (scope) => ({ y: scope.input('x', [1], 'float32') })));
const devices: readonly Device[] = 'unavailable' in native ? ['tfjs-wasm'] : ['cpu-native', 'tfjs-wasm'];
if ('unavailable' in native) console.warn(`the native runtime is not compared: ${native.unavailable}`);

function nativeOf(program: Program, threads = 2): NativeExecutable | { readonly unavailable: string } {
  const finished = optimize(program);
  return loadNative(finished, planMemory(finished), threads);
}

/** Runs a program `steps` times on the contents given. The caller disposes of it. */
async function ran(program: Program, device: Device, all: ReadonlyMap<string, HostData>, steps = 1) {
  const executable = await load(program, { device, threads: 2 });
  writeContents(executable, all);
  for (let step = 1; step <= steps; step++) {
    runStep(executable, step);
  }
  return executable;
}

/** Every output and every state agrees with an oracle's. */
function expectClose(executable: Executable, oracle: Executable): void {
  for (const name of [...Object.keys(oracle.program.outputs), ...statesOf(oracle)]) {
    expect(relativeError(executable.read(name), oracle.read(name)), name).toBeLessThanOrEqual(tolerance);
  }
}

describe.each(Object.entries(bases))('a LoRA step on a base of %s', (_, matrix) => {
  const program = trace(
    'lora',
    loraTrainingStep({ ...shape, config, lora, adamw, matrices: everywhere(matrix), dropout: { rate: 0.1, seed: 7 } }),
  );
  const all = contents(matrix);
  let oracle: Executable;
  beforeAll(async () => {
    oracle = await ran(program, 'tfjs-cpu', all);
  });
  afterAll(() => oracle.dispose());

  test.each(devices)('%s has the loss, gradients and updated states of TF.js cpu', async (device) => {
    const executable = await ran(program, device, all);
    expect(executable.backend).toBe(device);
    const means = statesOf(oracle).filter((name) => name.endsWith('.mean'));
    expect(means).toHaveLength(adapterShapes(config, lora).size);
    // After one step from zero the mean is (1 - beta1) times the gradient.
    for (const name of means) expect(Math.max(...oracle.read(name).map(Math.abs)), name).toBeGreaterThan(1e-6);
    expectClose(executable, oracle);
    executable.dispose();
  });

  test.each(devices)('%s gives the same bits for the same seed', async (device) => {
    const [first, second] = [await ran(program, device, all, 3), await ran(program, device, all, 3)];
    for (const name of ['loss', 'norm', ...statesOf(first)]) expect(second.read(name), name).toEqual(first.read(name));
    first.dispose();
    second.dispose();
  });

  test('cpu-native gives the same bits on one thread and on two', (context) => {
    const executables = [nativeOf(program, 1), nativeOf(program, 2)];
    const results = executables.map((executable) => {
      if ('unavailable' in executable) return context.skip(executable.unavailable);
      writeContents(executable, all);
      executable.run();
      const read = ['loss', ...statesOf(executable)].map((name) => [name, executable.read(name)] as const);
      executable.dispose();
      return read;
    });
    expect(results[0]).toEqual(results[1]);
  });

  test('the planned peak is the arena really used', (context) => {
    const executable = nativeOf(program);
    if ('unavailable' in executable) return context.skip(executable.unavailable);
    expect(executable.arenaBytes).toBe(executable.plan.arenaBytes);
    expect(executable.plan.arenaBytes - executable.highWaterBytes).toBeGreaterThanOrEqual(0);
    expect(executable.plan.arenaBytes - executable.highWaterBytes).toBeLessThan(64);
    executable.dispose();
  });
});

test.each(devices)('%s agrees on a pretraining step', async (device) => {
  const program = trace('pretrain', pretrainingStep({ ...shape, config, adamw: { ...adamw, maxNorm: 1 } }));
  const all = contents(bases.bf16);
  for (const [name, values] of toyWeights(config)) {
    all.set(
      name,
      values.map((value) => (name.includes('ln_') ? value : value / 2)),
    );
  }
  const [executable, oracle] = [await ran(program, device, all), await ran(program, 'tfjs-cpu', all)];
  expectClose(executable, oracle);
  executable.dispose();
  oracle.dispose();
});

describe.each(devices)('on %s', (device) => {
  test('decoding token by token gives the logits of the whole text', async () => {
    const matrix = bases['nf4, doubly'];
    const all = contents(matrix);
    const frozen = { config, lora, matrices: everywhere(matrix) };
    const whole = await ran(trace('logits', logitsStep({ ...frozen, ...shape })), device, all);
    const decoding = await load(trace('decode', decodeStep({ ...frozen, batch: shape.batch, capacity: 12 })), {
      device,
    });
    const tokens = all.get('tokens')!;
    all.delete('tokens');
    all.delete('positions');
    writeContents(decoding, all);
    const V = config.vocabSize;
    for (let t = 0; t < shape.length; t++) {
      const rows = Array.from({ length: shape.batch }, (_, b) => b * shape.length + t);
      decoding.write(
        'tokens',
        Int32Array.from(rows, (row) => tokens[row]!),
      );
      decoding.write('positions', new Int32Array(shape.batch).fill(t));
      decoding.run();
      const logits = whole.read('logits');
      const expected = rows.flatMap((row) => [...logits.subarray(row * V, (row + 1) * V)]);
      expect(relativeError(decoding.read('logits'), expected)).toBeLessThan(tolerance);
      expect(decoding.read('likeliest')).toEqual(likeliestOf(decoding.read('logits'), V));
    }
    whole.dispose();
    decoding.dispose();
  });
});

test('random programs that share memory in a real arena give the same bits as in tensors of their own', async (context) => {
  if ('unavailable' in native) return context.skip(native.unavailable);
  await fc.assert(
    fc.asyncProperty(exactSteps, async (step) => {
      const program = trace('random', stepOf(step));
      const expected = runTwice(await loadTfjs(program, planMemory(program), 'cpu'));
      expect(runTwice(await load(program, { device: 'cpu-native', threads: 1 }))).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});

test('`auto` is the native runtime wherever that can be had', async (context) => {
  if ('unavailable' in native) return context.skip(native.unavailable);
  const executable = await load(trace('copy', (scope) => ({ y: scope.input('x', [1], 'float32') })));
  expect(executable.backend).toBe('cpu-native');
  executable.dispose();
  expect(() => executable.run()).toThrow(/program 'copy' is disposed; load it again/);
});

test('loading and disposing many times takes no more memory than loading once', (context) => {
  const megabytes = 16;
  const program = trace('copy', (scope) => {
    const x = scope.input('x', [megabytes * 2 ** 18], 'float32');
    return { y: tf.add(x, x) };
  });
  const once = () => {
    const executable = nativeOf(program);
    if ('unavailable' in executable) return context.skip(executable.unavailable);
    executable.run();
    executable.dispose();
  };
  once();
  const before = process.memoryUsage.rss();
  for (let round = 0; round < 30; round++) once();
  // Thirty arenas of 32 MiB would be 960 MiB.
  expect(process.memoryUsage.rss() - before).toBeLessThan(4 * megabytes * 2 ** 20);
});
