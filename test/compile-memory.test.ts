import { describe, expect, test } from 'vitest';
import { peakMemory } from '../compile/memory.ts';
import { optimize } from '../compile/optimize.ts';
import { maxLiveBytes, planMemory } from '../compile/plan.ts';
import { trace } from '../compile/trace.ts';
import { validate } from '../compile/validate.ts';
import { weightShapes } from '../model/checkpoint.ts';
import { publishedConfigs } from '../model/config.ts';
import type { Matrix } from '../model/matrix.ts';
import { loraTrainingStep, pretrainingStep } from '../model/steps.ts';
import { bases, everywhere } from './support/compiled.ts';

const config = publishedConfigs['gpt2-medium'];
const rank = 8;
const adamw = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01, maxNorm: 1 };

/** The study's own step: batch 4 of 512 tokens, adapters of rank 8 on q and v. */
const studyStep = (matrix: Matrix) =>
  loraTrainingStep({
    batch: 4,
    length: 512,
    config,
    lora: { rank, alpha: 16, targets: ['q', 'v'] },
    dropout: { rate: 0.05, seed: 1 },
    adamw,
    matrices: everywhere(matrix),
  });

const planned = (matrix: Matrix) => peakMemory(planMemory(optimize(trace('train', studyStep(matrix)))));

const total = (sizes: number[]) => sizes.reduce((sum, size) => sum + size, 0);
const sizes = [...weightShapes(config)].map(([name, shape]) => ({
  isMatrix: /^h\..*(c_attn|c_proj|c_fc)\.weight$/.test(name),
  elements: shape.reduce((product, size) => product * size, 1),
}));

describe("GPT-2 Medium's LoRA step, on a machine that could not run it", () => {
  test('is traced, checked and planned in under two seconds, without data', () => {
    const before = process.memoryUsage().arrayBuffers;
    const started = process.cpuUsage();
    const program = trace('train', studyStep(bases.bf16));
    const finished = optimize(program);
    validate(finished);
    const plan = planMemory(finished);
    // Of processor time: others may be at work too.
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1e6).toBeLessThan(2);
    expect(total(program.buffers.map(({ data }) => data?.length ?? 0))).toBeLessThan(100);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e6);
    expect(plan.groups.activations).toBeLessThan(1.01 * maxLiveBytes(finished));
  });

  test('takes what its weights, adapters and moments take, counted by hand', () => {
    const memory = planned(bases.bf16);
    // Every tensor of this model fills whole cache lines, so nothing is padded.
    expect(memory.weights).toBe(2 * total(sizes.map(({ elements }) => elements)));
    const adapters = config.layers * 2 * 2 * rank * config.width;
    expect(memory.adapters).toBe(4 * adapters);
    expect(memory.optimizer).toBe(8 * adapters);
    expect(memory.total).toBe(memory.weights + memory.adapters + memory.optimizer + memory.activations);
  });

  test('with 4-bit matrices takes 0.5159 bytes for each of their elements, and as much for everything else', () => {
    const sixteen = planned(bases.bf16);
    const four = planned(bases['nf4, doubly']);
    const elements = total(sizes.map(({ isMatrix, elements }) => (isMatrix ? elements : 0)));
    const matrices = config.layers * 4;
    // What each matrix has of its own besides: two codebooks, of 16 and 256 floats, and the offset in its cache line.
    const shared = matrices * (64 + 1024 + 64);
    const bytes = four.weights - (sixteen.weights - 2 * elements) - shared;
    expect(bytes / elements).toBeCloseTo(0.5 + 1 / 64 + 4 / 16384, 6);
    expect({ ...four, weights: 0, total: 0 }).toEqual({ ...sixteen, weights: 0, total: 0 });
  });
});

describe('a training step of 65 billion parameters', () => {
  const huge = { ...config, contextLength: 2048, width: 8192, layers: 80, heads: 64 };
  const steps = {
    'of adapters': loraTrainingStep({
      batch: 4,
      length: 512,
      config: huge,
      lora: { rank, alpha: 16, targets: ['q', 'v'] },
      dropout: { rate: 0.05, seed: 1 },
      adamw,
      matrices: everywhere(bases['nf4, doubly']),
    }),
    'of the whole model': pretrainingStep({ batch: 4, length: 512, config: huge, adamw }),
  };

  test.each(Object.entries(steps))(
    '%s is traced, taken through the passes and planned without holding data',
    (_, step) => {
      const before = process.memoryUsage().arrayBuffers;
      const program = trace('train', step);
      expect(total(program.buffers.map(({ data }) => data?.length ?? 0))).toBeLessThan(100);
      expect(planMemory(optimize(program)).arenaBytes).toBeGreaterThan(60e9);
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e6);
    },
  );
});
