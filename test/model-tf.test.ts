/** The TensorFlow.js bundle and its backends. */
import { existsSync, statSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { EagerScope } from '../model/eager_scope.ts';
import { tf, useBackend } from '../model/tf.ts';
import { bundleTfjs } from '../scripts/tfjs-bundle.mjs';

describe('the bundle', () => {
  it('is not made again when nothing has changed', async () => {
    const path = await bundleTfjs();
    const before = statSync(path).mtimeMs;
    expect(await bundleTfjs()).toBe(path);
    expect(statSync(path).mtimeMs).toBe(before);
  });

  it('has the gradients that the Node entry of tfjs-core lacks', () => {
    expect(tf.getGradient('BatchMatMul')).toBeDefined();
    expect(tf.getGradient('Reshape')).toBeDefined();
  });
});

describe('useBackend', () => {
  it('switches back and forth, and prints nothing', async () => {
    const printed = vi.spyOn(console, 'warn');
    for (const backend of ['cpu', 'wasm', 'cpu', 'wasm'] as const) {
      await useBackend(backend);
      expect(tf.getBackend()).toBe(backend);
      expect(tf.tidy(() => Array.from(tf.add([1, 2], [3, 4]).dataSync()))).toEqual([4, 6]);
    }
    expect(printed).not.toHaveBeenCalled();
    printed.mockRestore();
  });

  const installed = ['tfjs-node', 'tfjs-node-gpu'].some((name) => existsSync(`node_modules/@tensorflow/${name}`));

  it.skipIf(installed)('says how to get the tensorflow backend when no package for it is installed', async () => {
    await expect(useBackend('tensorflow')).rejects.toThrow(/needs one of .*tfjs-node.*npm install/);
  });
});

describe('an eager scope', () => {
  it('rounds what is stored as bf16, and nothing else', async () => {
    await useBackend('cpu');
    const scope = new EagerScope([
      ['a', Float32Array.of(1.00390625)],
      ['b', Float32Array.of(1.00390625)],
    ]);
    const outputs = scope.run((s) => ({
      a: s.weight('a', [1], 'bf16', 'weights'),
      b: s.weight('b', [1], 'float32', 'weights'),
    }));
    // 1 + 2^-8 lies midway between two bf16 numbers; the even one is 1.
    expect([outputs.a[0], outputs.b[0]]).toEqual([1, 1.00390625]);
  });

  it('keeps updates for the next run, and leaves no tensor behind', async () => {
    await useBackend('cpu');
    const scope = new EagerScope([['x', Float32Array.of(2)]]);
    const before = tf.memory().numTensors;
    const step = () =>
      scope.run((s) => {
        const total = s.state('total', [1], 'optimizer');
        const sum = tf.add(total, s.input('x', [1], 'float32'));
        s.update(total, sum);
        return { total, sum };
      });
    expect(step()).toEqual({ total: Float32Array.of(0), sum: Float32Array.of(2) });
    scope.write('x', Float32Array.of(5));
    expect(step()).toEqual({ total: Float32Array.of(2), sum: Float32Array.of(7) });
    expect(scope.read('total')).toEqual(Float32Array.of(7));
    expect(tf.memory().numTensors).toBe(before);
  });

  it('says what a step asks for and does not get', () => {
    const scope = new EagerScope([['x', Float32Array.of(2)]]);
    expect(() => scope.run((s) => ({ y: s.weight('y', [1], 'bf16', 'weights') }))).toThrow("the scope holds no 'y'");
    expect(() => scope.run((s) => ({ x: s.input('x', [2, 3], 'float32') }))).toThrow(
      "'x' has shape [2,3]: 6 elements, but there are 1",
    );
    expect(() => scope.run((s) => ({ x: s.input('x', [1], 'float32'), again: s.input('x', [1], 'int32') }))).toThrow(
      "'x' is float32 [1], and was asked for again as int32 [1]",
    );
  });
});
