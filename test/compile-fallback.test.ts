import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { load as Load } from '../compile/executable.ts';
import { trace } from '../compile/trace.ts';

/** A machine on which the addon cannot be had, as PIPE_NATIVE=off makes this one; loaded anew, since the answer is kept. */
let load: typeof Load;
beforeAll(async () => {
  vi.stubEnv('PIPE_NATIVE', 'off');
  vi.resetModules();
  ({ load } = await import('../compile/executable.ts'));
});
afterAll(() => vi.unstubAllEnvs());

const program = trace('copy', (scope) => ({ y: scope.input('x', [2], 'float32') }));

test('without the addon `auto` runs on wasm and says why, once for all the programs that share a callback', async () => {
  const reasons: string[] = [];
  const onFallback = (reason: string) => void reasons.push(reason);
  for (const executable of [await load(program, { onFallback }), await load(program, { onFallback })]) {
    expect(executable.backend).toBe('tfjs-wasm');
    executable.write('x', Float32Array.of(4, 5));
    executable.run();
    expect(executable.read('y')).toEqual(Float32Array.of(4, 5));
    executable.dispose();
  }
  expect(reasons).toEqual([expect.stringMatching(/^running on TensorFlow.js wasm, which is slower: .*PIPE_NATIVE/)]);
});

test('programs are traced and loaded while the backend of another is still starting', async () => {
  vi.resetModules();
  const { load } = await import('../compile/executable.ts');
  const { trace } = await import('../compile/trace.ts');
  const one = () => load(trace('copy', (scope) => ({ y: scope.input('x', [1], 'float32') })));
  const executables = await Promise.all([one(), one(), one()]);
  for (const [i, executable] of executables.entries()) executable.write('x', Float32Array.of(i));
  for (const [i, executable] of executables.entries()) {
    executable.run();
    expect(executable.read('y')).toEqual(Float32Array.of(i));
    executable.dispose();
  }
});

test('without the addon `cpu-native` is refused, with the reason and what to ask for instead', async () => {
  await expect(load(program, { device: 'cpu-native' })).rejects.toThrow(
    /the native runtime is not available: .*PIPE_NATIVE.*; load with device 'auto' or 'tfjs-wasm'/,
  );
});
