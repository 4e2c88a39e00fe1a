/** The passes for a GPU: the same program in fewer calls, checked on the CPU's kernels; and what is stored in bf16. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { load } from '../compile/executable.ts';
import type { HostData } from '../compile/host_access.ts';
import { loadNative } from '../compile/native_executable.ts';
import { optimize, passesFor, precisionOf } from '../compile/optimize.ts';
import { planMemory } from '../compile/plan.ts';
import type { Executable, Program } from '../compile/program.ts';
import { trace } from '../compile/trace.ts';
import { validate } from '../compile/validate.ts';
import { quantize } from '../model/nf4.ts';
import { codeThresholds, normalFloatCodebook } from '../model/nf4_codebooks.ts';
import { loraTrainingStep, pretrainingStep, quantizationStep } from '../model/steps.ts';
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
import { logitsStep } from './support/logits_step.ts';
import { normals } from './support/toy.ts';

const training = { ...shape, config, lora, adamw: { ...adamw, maxNorm: 1 } };

/** How many calls a program has of each kernel. */
function countsOf(program: Program): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kernel } of program.calls) counts[kernel] = (counts[kernel] ?? 0) + 1;
  return counts;
}

function loadForGpu(program: Program): Executable {
  const finished = optimize(program, { gpu: 'float32' });
  validate(finished);
  const executable = loadNative(finished, planMemory(finished), 2);
  if ('unavailable' in executable) throw new Error(executable.unavailable);
  return executable;
}

/** Three steps; every output and state afterwards. */
function trained(executable: Executable, all: ReadonlyMap<string, HostData>): Map<string, HostData> {
  writeContents(executable, all);
  for (let step = 1; step <= 3; step++) {
    runStep(executable, step);
  }
  const names = [...Object.keys(executable.program.outputs), ...statesOf(executable)];
  const results = new Map(names.map((name) => [name, executable.read(name)]));
  executable.dispose();
  return results;
}

function expectSame(actual: ReadonlyMap<string, HostData>, expected: ReadonlyMap<string, HostData>): void {
  expect([...actual.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [name, values] of expected) {
    // AdamW's first steps divide a gradient by its own size, so that small ones carry their rounding into the weights.
    expect(relativeError(actual.get(name)!, values), name).toBeLessThanOrEqual(1e-4);
  }
}

describe.each(Object.entries(bases))('a LoRA step on a base of %s', (_, matrix) => {
  describe.each([0, 0.1])('with dropout %f', (rate) => {
    const program = trace(
      'lora',
      loraTrainingStep({ ...training, matrices: everywhere(matrix), dropout: { rate, seed: 7 } }),
    );

    test('computes what it did', async () => {
      const all = contents(matrix);
      const plain = trained(await load(program, { device: 'cpu-native', threads: 2 }), all);
      expectSame(trained(loadForGpu(program), all), plain);
    });

    test('has one call for the optimizer and one for the loss, keeps what attention computed, and adds nothing apart', () => {
      const counts = countsOf(optimize(program, { gpu: 'float32' }));
      expect(counts).toMatchObject({
        AdamW: 1,
        CrossEntropyWithGradient: 1,
        CausalAttentionWithLse: config.layers,
        CausalAttentionBackwardFromLse: config.layers,
      });
      for (const gone of [
        'DequantizeAbsmax',
        'AdamWMean',
        'AdamWUpdate',
        'CrossEntropy',
        'CausalAttention',
        'Identity',
      ]) {
        expect(counts[gone], gone).toBeUndefined();
      }
      // Tokens and positions.
      expect(counts.Add).toBe(1);
    });
  });

  test('stores activations in bf16, and adapters, losses, moments and norms in float32', () => {
    const program = trace(
      'lora',
      loraTrainingStep({ ...training, matrices: everywhere(matrix), dropout: { rate: 0, seed: 7 } }),
    );
    expect(precisionOf(program)).toBe('bf16');
    const finished = optimize(program, { gpu: 'bf16' });
    validate(finished);
    const wide = finished.buffers.filter(({ role, shape: [rows] }) => role === 'temporary' && rows === 33);
    const floats = wide.filter(({ storage }) => storage === 'float32').map(({ name }) => name.split(':')[0]);
    // Reshape is what goes into the first layer: only layer norms and sums read it, no gradient does.
    expect(new Set(floats)).toEqual(new Set(['Reshape']));
    for (const { name, role, storage } of finished.buffers) {
      if (role === 'state' || role === 'input') expect(storage, name).not.toBe('bf16');
    }
    for (const output of Object.values(finished.outputs)) expect(finished.buffers[output]!.storage).toBe('float32');
  });
});

test('a forward pass keeps the sums between its layers in float32', () => {
  const program = trace('logits', logitsStep({ config, matrices: everywhere(bases.bf16), ...shape }));
  const finished = optimize(program, { gpu: 'bf16' });
  validate(finished);
  const sums = finished.calls.filter(({ kernel, inputs }) => kernel === 'Linear' && inputs.length === 4);
  expect(sums).toHaveLength(2 * config.layers);
  for (const { outputs } of sums) expect(finished.buffers[outputs[0]!]!.storage).toBe('float32');
});

describe('pretraining', () => {
  const program = trace('pretrain', pretrainingStep(training));
  let all: Map<string, HostData>;
  let plain: Map<string, HostData>;
  beforeAll(async () => {
    all = contents(bases.bf16);
    plain = trained(await load(program, { device: 'cpu-native', threads: 2 }), all);
  });
  afterAll(() => plain.clear());

  test('computes what it did', () => expectSame(trained(loadForGpu(program), all), plain));

  test('is float32 where nobody says otherwise', () => expect(precisionOf(program)).toBe('float32'));
});

test('a matrix is quantized in one reading, to the same bits', async () => {
  const program = trace('quantize', quantizationStep({ n: 64 * 50, block: 64 }));
  const w = normals(64 * 50, 1, 5);
  const results = [await load(program, { device: 'cpu-native' }), loadForGpu(program)].map((executable) => {
    executable.write('w', w);
    executable.write('thresholds', codeThresholds(normalFloatCodebook(4)));
    executable.run();
    const { absmax, codes } = { absmax: executable.read('absmax'), codes: executable.read('codes') };
    executable.dispose();
    return { absmax, codes };
  });
  const { codes, absmax } = quantize(w, 64);
  expect(results).toEqual([
    { absmax, codes },
    { absmax, codes },
  ]);
  expect(countsOf(optimize(program, { gpu: 'float32' }))).toEqual({ Nf4Quantize: 1 });
});

test('a program that has been through them comes out as it is', () => {
  const program = trace(
    'lora',
    loraTrainingStep({ ...training, matrices: everywhere(bases.nf4), dropout: { rate: 0.1, seed: 7 } }),
  );
  const finished = optimize(program, { gpu: 'bf16' });
  expect(optimize(finished, { gpu: 'bf16' })).toEqual(finished);
  for (const pass of passesFor({ gpu: 'bf16' })) validate(pass(finished));
});

describe.each([undefined, 'float32'] as const)('blocks computed again (for a GPU in %s)', (gpu) => {
  const target = gpu === undefined ? {} : { gpu };
  const deep = { ...config, layers: 5 };
  const step = (rate: number) =>
    trace(
      'lora',
      loraTrainingStep({
        ...training,
        config: deep,
        matrices: everywhere(bases.nf4),
        dropout: { rate, seed: 7 },
      }),
    );
  const open = (program: Program): Executable => {
    validate(program);
    const executable = loadNative(program, planMemory(program), 2);
    if ('unavailable' in executable) throw new Error(executable.unavailable);
    return executable;
  };

  test.each([0, 0.1])('give the same loss and the same adapters to the bit, with dropout %f', (rate) => {
    const program = step(rate);
    const all = contents(bases.nf4, deep);
    const kept = trained(open(optimize(program, target)), all);
    const again = trained(open(optimize(program, { ...target, rematerialize: 'block' })), all);
    expect(again).toEqual(kept);
  });

  test('take less memory: every block but the last is computed twice', () => {
    const kept = optimize(step(0), target);
    const again = optimize(step(0), { ...target, rematerialize: 'block' });
    const attentions = (program: Program) =>
      program.calls.filter(({ kernel }) => /^CausalAttention(?:WithLse)?$/.test(kernel)).length;
    expect([attentions(kept), attentions(again)]).toEqual([5, 9]);
    expect(planMemory(again).groups.activations).toBeLessThan(0.6 * planMemory(kept).groups.activations);
  });
});

test('a program without a loss has no blocks to compute again', () => {
  const program = trace('logits', logitsStep({ config, matrices: everywhere(bases.bf16), ...shape }));
  expect(optimize(program, { rematerialize: 'block' })).toEqual(optimize(program));
});
