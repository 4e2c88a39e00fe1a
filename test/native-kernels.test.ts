/** Every native kernel against an oracle in float64, in poisoned memory, and to the bit for any number of threads. */
import { describe, expect, test } from 'vitest';
import { addon, bits, cpu, errorIn, load, run } from './native/case.ts';
import { kernelCases } from './native/cases.ts';

const cases = kernelCases();

test('every kernel has a case', () => {
  expect(new Set(cases.map(({ kernel }) => kernel))).toEqual(new Set(addon().kernels()));
});

describe.each([...new Set(cases.map(({ kernel }) => kernel))])('%s', (kernel) => {
  const ofKernel = cases.filter((each) => each.kernel === kernel);

  test.each(ofKernel.map((each) => [each.label, each] as const))('agrees with the oracle: %s', (_, each) => {
    expect(errorIn(each, run(each))).toBeLessThanOrEqual(each.tolerance);
  });

  test('gives the same bits on 1, 2 and 3 threads', () => {
    for (const each of ofKernel) {
      const alone = bits(run(each, cpu(1)));
      const differing = [2, 3].filter((threads) => !bits(run(each, cpu(threads))).equals(alone));
      expect(differing, each.label).toEqual([]);
    }
  });

  test('gives the same bits when run again', () => {
    for (const each of ofKernel.filter(({ inPlace }) => inPlace === undefined)) {
      const loaded = load(each, cpu(2));
      const first = bits(loaded.run());
      expect(bits(loaded.run()).equals(first), each.label).toBe(true);
      loaded.executable.dispose();
    }
  });
});
