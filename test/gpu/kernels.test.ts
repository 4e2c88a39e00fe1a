/** Every kernel on the GPU against an oracle in float64, on fresh random inputs, in poisoned and guarded memory. */
import { expect, test } from 'vitest';
import { withoutNested } from '../../compile/nested.ts';
import { takesHalves } from '../../compile/passes/halves.ts';
import type { Precision } from '../../native/addon.ts';
import {
  addon,
  bits,
  errorIn,
  type KernelCase,
  load,
  type Operand,
  type Result,
  reseed,
  resultsOf,
  run,
  toBf16,
} from '../native/case.ts';
import { kernelCases } from '../native/cases.ts';
import { onGpu } from './device.ts';

const seed = Number(process.env.PIPE_TEST_SEED ?? Date.now() % 1e9);

/** Kernels that multiply in the precision of their context, or read operands in 16 bits by tensor cores. */
const inPrecision = /^(?:Linear\w*|Nf4MatMul\w*|CrossEntropy\w*|TokenLogProb|CausalAttention\w*)$/;

/** Cases whose softmax turns on differences that inputs rounded to bf16 no longer have. */
const sharp = /^(?:large |sharp)/;

const cuda = (precision: Precision) => ({ device: 'cuda', precision }) as const;

/** The GPU is held to 1e-5, and in bf16 to 1e-2; to more only where a case's inputs leave float32 no more (a large mean). */
function tolerance(each: KernelCase, precision: Precision): number {
  if (each.tolerance === 0) return 0;
  return Math.max(each.tolerance, precision === 'bf16' && inPrecision.test(each.kernel) ? 1e-2 : 1e-5);
}

/** A case with the storages that the pass gives its activations: bf16 wherever the kernel takes it. */
function storedInHalves(test: KernelCase): KernelCase[] {
  const takes = takesHalves[test.kernel];
  if (takes === undefined) return [];
  const own = withoutNested(test.kernel, test.operands, test.attributes).length;
  const inHalves = (operand: Operand, at: number): Operand =>
    at < own && takes.inputs.includes(at)
      ? { ...operand, storage: 'bf16', data: Float32Array.from(operand.data, toBf16) }
      : operand;
  const operands = test.operands.map(inHalves);
  const stored = (result: Result, at: number): Result => ({
    ...result,
    storage: takes.outputs.includes(at) ? 'bf16' : 'float32',
  });
  const [first, ...further] = resultsOf(test).map(stored);
  const isStored = ({ inPlace, storage }: Result) => inPlace === undefined || operands[inPlace]!.storage === storage;
  if (![first!, ...further].every(isStored)) return [];
  return [{ ...test, ...first, operands, further, tolerance: 1e-2 }];
}

/** The same bits when run again, and when loaded again. */
function expectSameBits(each: KernelCase, precision: Precision): void {
  const loaded = load(each, cuda(precision));
  const first = bits(loaded.run());
  expect(bits(loaded.run()).equals(first), `${each.kernel} (${each.label})`).toBe(true);
  loaded.executable.dispose();
  expect(bits(run(each, cuda(precision))).equals(first), `${each.kernel} (${each.label})`).toBe(true);
}

const isFresh = (each: KernelCase) => resultsOf(each).every(({ inPlace }) => inPlace === undefined);

reseed(seed);
const cases = kernelCases();

onGpu.each(['float32', 'bf16'] as const)(`in %s (PIPE_TEST_SEED=${seed})`, (precision) => {
  const meant = cases.filter(
    ({ kernel, label }) => precision === 'float32' || !(inPrecision.test(kernel) && sharp.test(label)),
  );

  test('every kernel has a case', () => {
    expect(new Set(meant.map(({ kernel }) => kernel))).toEqual(new Set(addon().kernels()));
  });

  test.each(meant.map((each) => [each.kernel, each.label, each] as const))('%s agrees: %s', (_, __, each) => {
    expect(errorIn(each, run(each, cuda(precision)))).toBeLessThanOrEqual(tolerance(each, precision));
  });

  test('each gives the same bits when run again, and when loaded again', () => {
    for (const each of meant.filter(isFresh)) expectSameBits(each, precision);
  });
});

reseed(seed, true);
const stored = kernelCases()
  .filter(({ label }) => !sharp.test(label) && !/^a large mean/.test(label))
  .flatMap(storedInHalves);

onGpu(`with activations in bf16 (PIPE_TEST_SEED=${seed})`, () => {
  test('every kernel that takes them has a case', () => {
    expect(new Set(stored.map(({ kernel }) => kernel))).toEqual(new Set(Object.keys(takesHalves)));
  });

  test.each(stored.map((each) => [each.kernel, each.label, each] as const))('%s agrees: %s', (_, __, each) => {
    expect(errorIn(each, run(each, cuda('bf16')))).toBeLessThanOrEqual(each.tolerance);
  });

  test('each gives the same bits when run again, and when loaded again', () => {
    for (const each of stored.filter(isFresh)) expectSameBits(each, 'bf16');
  });
});
