/** Every kernel on the GPU against an oracle in float64, on fresh random inputs, in poisoned and guarded memory. */
import { expect, test } from 'vitest';
import type { Precision } from '../../native/addon.ts';
import { addon, bits, errorOf, type KernelCase, load, reseed, run } from '../native/case.ts';
import { kernelCases } from '../native/cases.ts';
import { onGpu } from './device.ts';

const seed = Number(process.env.PIPE_TEST_SEED ?? Date.now() % 1e9);
reseed(seed);
const cases = kernelCases();

/** Kernels that multiply in the precision of their context. The others compute in float32 in both. */
const inPrecision = /^(?:Linear|LinearBackward\w+|Nf4MatMul\w*|CrossEntropy\w*|TokenLogProb|CausalAttention\w*)$/;

/** Cases whose softmax turns on differences that inputs rounded to bf16 no longer have. */
const sharp = /^(?:large |sharp)/;

const cuda = (precision: Precision) => ({ device: 'cuda', precision }) as const;

/** The GPU is held to 1e-5, and in bf16 to 1e-2; to more only where a case's inputs leave float32 no more (a large mean). */
function tolerance(each: KernelCase, precision: Precision): number {
  if (each.tolerance === 0) return 0;
  return Math.max(each.tolerance, precision === 'bf16' && inPrecision.test(each.kernel) ? 1e-2 : 1e-5);
}

onGpu.each(['float32', 'bf16'] as const)(`in %s (PIPE_TEST_SEED=${seed})`, (precision) => {
  const meant = cases.filter(
    ({ kernel, label }) => precision === 'float32' || !(inPrecision.test(kernel) && sharp.test(label)),
  );

  test('every kernel has a case', () => {
    expect(new Set(meant.map(({ kernel }) => kernel))).toEqual(new Set(addon().kernels()));
  });

  test.each(meant.map((each) => [each.kernel, each.label, each] as const))('%s agrees: %s', (_, __, each) => {
    expect(errorOf(run(each, cuda(precision)), each.expected)).toBeLessThanOrEqual(tolerance(each, precision));
  });

  test('each gives the same bits when run again, and when loaded again', () => {
    for (const each of meant.filter(({ inPlace }) => inPlace === undefined)) {
      const loaded = load(each, cuda(precision));
      const first = bits(loaded.run());
      expect(bits(loaded.run()).equals(first), `${each.kernel} (${each.label})`).toBe(true);
      loaded.executable.dispose();
      expect(bits(run(each, cuda(precision))).equals(first), `${each.kernel} (${each.label})`).toBe(true);
    }
  });
});
