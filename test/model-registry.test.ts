/** The registry holds every kernel that a step calls, and each kernel's shape function tells what its composite gives. */
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { EagerScope } from '../model/eager_scope.ts';
import { families } from '../model/gpt2.ts';
import type { Shape } from '../model/kernels/kernel.ts';
import { nf4Dequantize } from '../model/kernels/nf4_matmul.ts';
import { kernels } from '../model/kernels/registry.ts';
import { adapterShapes, type LoraConfig } from '../model/lora.ts';
import { type Matrices, nf4Parts } from '../model/matrix.ts';
import { quantize, quantizeAbsmax } from '../model/nf4.ts';
import { codeThresholds, normalFloatCodebook } from '../model/nf4_codebooks.ts';
import type { TensorData } from '../model/scope.ts';
import {
  comparisonStep,
  decodeStep,
  loraTrainingStep,
  lossStep,
  pretrainingStep,
  quantizationStep,
} from '../model/steps.ts';
import { type Tensor, tf, useBackend } from '../model/tf.ts';
import { logitsStep } from './support/logits_step.ts';
import { adamw, normals, toyConfig, toyText, toyWeights } from './support/toy.ts';

/** Core TF.js kernels that programs may hold, besides the named ones. `Identity`, `Reshape` and `Cast` become aliases. */
const coreKernels = new Set([
  'Add',
  'Sub',
  'Multiply',
  'BatchMatMul',
  'Transpose',
  'Reshape',
  'Identity',
  'Cast',
  'Slice',
  'Concat',
  'Sum',
  'ArgMax',
  'Fill',
]);
const lora: LoraConfig = { rank: 2, alpha: 2, targets: families };

/** A base with both storages in it: the first layer is quantized. */
const matrices: Matrices = (name) =>
  name.startsWith('h.0.') ? { kind: 'nf4', block: 8, doubleQuantization: true } : { kind: 'dense', storage: 'bf16' };

function contents(): Map<string, TensorData> {
  const all = new Map<string, TensorData>(Object.entries(toyText(2, 5)));
  all.set('hyper', Float32Array.of(1e-3, 1)).set('step', Int32Array.of(1));
  for (const [name, values] of toyWeights()) {
    all.set(name, values);
    if (!/^h\.0\..*(c_attn|c_fc|c_proj)\.weight$/.test(name)) continue;
    const { codes, absmax, codebook } = quantize(values, 8);
    const nested = quantizeAbsmax(absmax);
    all
      .set(name, codes)
      .set(name + nf4Parts.codebook, codebook)
      .set(name + nf4Parts.absmax, nested.codes);
    all
      .set(name + nf4Parts.nestedAbsmax, nested.nestedAbsmax)
      .set(name + nf4Parts.nestedCodebook, nested.nestedCodebook);
    all.set(name + nf4Parts.offset, Float32Array.of(nested.offset));
  }
  for (const [name, [rows, columns]] of adapterShapes(toyConfig, lora))
    all.set(name, normals(rows! * columns!, 0.1, 1, name));
  return all;
}

/** Runs every kind of step, and the one kernel that none of them calls. */
function runEverything(): void {
  const frozen = { config: toyConfig, matrices, lora };
  const shape = { batch: 2, length: 5 };
  const run = (...changed: [string, TensorData][]) => new EagerScope([...contents(), ...changed]);
  run().run(loraTrainingStep({ ...frozen, ...shape, dropout: { rate: 0.1, seed: 1 }, adamw }));
  run(...toyWeights()).run(pretrainingStep({ config: toyConfig, ...shape, adamw }));
  run().run(lossStep({ ...frozen, ...shape }));
  run().run(logitsStep({ ...frozen, ...shape }));
  const token: [string, TensorData][] = [
    ['tokens', Int32Array.of(1, 2)],
    ['positions', Int32Array.of(0, 3)],
  ];
  run(...token).run(decodeStep({ ...frozen, batch: 2, capacity: 6 }));
  const thresholds = codeThresholds(normalFloatCodebook(4));
  run(['w', normals(32, 1, 1)], ['thresholds', thresholds]).run(quantizationStep({ n: 32, block: 8 }));
  const states = normals(3 * toyConfig.width, 1, 1);
  const table = contents().get('wte.weight')!;
  run(
    ['targets', Int32Array.of(0, -1, 2)],
    ['hidden', states],
    ['reference.hidden', states],
    ['reference.wte.weight', table],
  ).run(comparisonStep({ rows: 3, config: toyConfig, reference: toyConfig }));
  tf.tidy(() => {
    const { codes, absmax, codebook } = quantize(normals(32, 1, 1), 8);
    const weight = {
      codes: tf.tensor(Int32Array.from(codes)),
      absmax: tf.tensor(absmax),
      codebook: tf.tensor(codebook),
    };
    nf4Dequantize(weight, { shape: [4, 8], block: 8 });
  });
}

interface Made {
  readonly kernel: string;
  readonly operands: readonly (readonly [string, Shape])[];
  readonly attributes: object;
  readonly output: Shape;
}

describe('the registry', () => {
  const made: Made[] = [];

  beforeAll(async () => {
    await useBackend('cpu');
    const spy = vi.spyOn(tf.engine(), 'runKernel');
    let depth = 0;
    const run = spy.getMockImplementation() ?? Object.getPrototypeOf(tf.engine()).runKernel;
    spy.mockImplementation(function (this: unknown, kernel, inputs, attributes) {
      depth++;
      try {
        const output = run.call(tf.engine(), kernel, inputs, attributes) as Tensor;
        // Deeper calls are what composites are made of.
        if (depth === 1) {
          const operands = Object.entries(inputs as Record<string, Tensor>).map(
            ([name, { shape }]) => [name, shape] as const,
          );
          made.push({ kernel, operands, attributes: attributes ?? {}, output: output.shape });
        }
        return output as never;
      } finally {
        depth--;
      }
    });
    try {
      runEverything();
    } finally {
      spy.mockRestore();
    }
  });

  it('holds each name once', () => {
    const names = kernels.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  it('has no kernel that nothing calls, and steps call no other but the core ones', () => {
    const called = new Set(made.map(({ kernel }) => kernel));
    expect(new Set([...called].filter((name) => !coreKernels.has(name)))).toEqual(
      new Set(kernels.map(({ name }) => name)),
    );
  });

  it.each(kernels.map((definition) => [definition.name, definition] as const))(
    '%s has the shape that it says',
    (name, definition) => {
      for (const { operands, attributes, output } of made.filter(({ kernel }) => kernel === name)) {
        expect(definition.shape(Object.fromEntries(operands), attributes)).toEqual(output);
        if (definition.operands === 'variadic') continue;
        const order = [...definition.operands, ...(definition.optional ?? [])];
        expect(operands.map(([operand]) => operand)).toEqual(order.slice(0, operands.length));
      }
    },
  );

  it('in place are only kernels whose output has the shape of that operand', () => {
    for (const { name, inPlace } of kernels.filter((kernel) => kernel.inPlace !== undefined)) {
      for (const { operands, output } of made.filter(({ kernel }) => kernel === name)) {
        expect(new Map(operands).get(inPlace)).toEqual(output);
        expect(operands[0]![0]).toBe(inPlace);
      }
    }
  });
});
