/** The runtime on a GPU: storages, errors, graphs for different data, memory. */
import { expect, test } from 'vitest';
import { loadCuda } from '../../compile/native_executable.ts';
import type { NativeProgram } from '../../native/addon.ts';
import { addon, errorOf, layOut, random, toBf16 } from '../native/case.ts';
import { openAndClose } from '../support/open_and_close.ts';
import { onGpu } from './device.ts';

type Buffer = NativeProgram['buffers'][number];

function buffer(name: string, shape: readonly number[], storage: Buffer['storage'] = 'float32'): Buffer {
  return { name, shape, storage };
}

function load(buffers: Buffer[], calls: NativeProgram['calls'], device: 'cuda' | 'cpu' = 'cuda') {
  const { Executable } = addon();
  const options = device === 'cpu' ? ({ device, threads: 2 } as const) : ({ device, precision: 'float32' } as const);
  return new Executable({ name: 'p', buffers, calls }, layOut(buffers), options);
}

const crossEntropy = (N: number, V: number, C: number): [Buffer[], NativeProgram['calls']] => [
  [
    buffer('hidden', [N, C]),
    buffer('table', [V, C]),
    buffer('targets', [N], 'int32'),
    buffer('loss', []),
    buffer('dhidden', [N, C]),
    buffer('scratch', [64, V]),
    { ...buffer('one', []), data: Float32Array.of(1) },
  ],
  [
    { kernel: 'CrossEntropy', inputs: [0, 1, 2], outputs: [3], scratch: 5, attributes: {} },
    { kernel: 'CrossEntropyBackwardHidden', inputs: [6, 0, 1, 2], outputs: [4], scratch: 5, attributes: {} },
  ],
];

onGpu('a program on a GPU', () => {
  test('keeps float32, int32 and uint8 to the bit, and rounds bf16 to nearest even', () => {
    const next = random(5);
    const values = Float32Array.from({ length: 1001 }, () => next() * 10 ** (30 * next()));
    const executable = load(
      [buffer('f', [3]), buffer('i', [2], 'int32'), buffer('u', [5], 'uint8'), buffer('h', [1001], 'bf16')],
      [],
    );
    const contents = [
      Float32Array.of(1.5, -0, 1e-45),
      Int32Array.of(-(2 ** 31), 7),
      Uint8Array.of(0, 1, 127, 128, 255),
      values,
    ];
    for (const [i, data] of contents.entries()) executable.write(i, data);
    expect(contents.map((_, i) => executable.read(i))).toEqual([...contents.slice(0, 3), values.map(toBf16)]);
    executable.dispose();
  });

  test('begins with zeros, whatever loading it ran', () => {
    const executable = load(
      [buffer('x', [9]), buffer('y', [9]), { ...buffer('one', [9]), data: new Float32Array(9).fill(1) }],
      [{ kernel: 'Add', inputs: [0, 2], outputs: [0], attributes: {} }],
    );
    expect([...executable.read(0), ...executable.read(1)]).toEqual(Array(18).fill(0));
    executable.dispose();
  });

  test('computes the loss of as many rows as have a target, however many those are', () => {
    const [N, V, C] = [700, 97, 40];
    const [buffers, calls] = crossEntropy(N, V, C);
    const [gpu, cpu] = [load(buffers, calls), load(buffers, calls, 'cpu')];
    for (const executable of [gpu, cpu]) {
      const again = random(11);
      executable.write(0, Float32Array.from({ length: N * C }, again));
      executable.write(1, Float32Array.from({ length: V * C }, again));
    }
    for (const share of [1, 0, 0.3, 0.9, 1]) {
      const targets = Int32Array.from({ length: N }, (_, n) => ((n * 0.618) % 1 < share ? n % V : -1));
      for (const executable of [gpu, cpu]) {
        executable.write(2, targets);
        executable.run();
      }
      for (const output of [3, 4])
        expect(errorOf(gpu.read(output), cpu.read(output)), `${share}`).toBeLessThanOrEqual(1e-5);
    }
    gpu.dispose();
    cpu.dispose();
  });

  test('refuses data out of range in the CPU’s words, and runs nothing', () => {
    const embedding = load(
      [buffer('wte', [10, 4]), buffer('ids', [1, 3], 'int32'), buffer('y', [1, 3, 4])],
      [{ kernel: 'Embedding', inputs: [0, 1], outputs: [2], attributes: {} }],
    );
    embedding.write(2, new Float32Array(12).fill(3));
    for (const id of [10, -1]) {
      embedding.write(1, Int32Array.of(0, 9, id));
      expect(() => embedding.run()).toThrow(
        `program p, call 0 (Embedding): ids[2] is ${id}, but the table has rows 0 to 9`,
      );
    }
    expect(embedding.read(2)).toEqual(new Float32Array(12).fill(3));
    embedding.write(1, Int32Array.of(0, 9, 1));
    embedding.run();
    expect(embedding.read(2)).toEqual(new Float32Array(12));
    embedding.dispose();

    const [buffers, calls] = crossEntropy(2, 10, 4);
    const loss = load(buffers, calls);
    loss.write(2, Int32Array.of(-1, 10));
    expect(() => loss.run()).toThrow('targets[1] is 10, but the table has rows 0 to 9');
    loss.dispose();
  });

  test('says which call is wrong', () => {
    expect(() =>
      load([buffer('x', [4, 3])], [{ kernel: 'Softplus', inputs: [0], outputs: [0], attributes: {} }]),
    ).toThrow('program p, call 0 (Softplus) names a kernel that this runtime does not have');
  });

  test('says what memory it needs and what there is when it does not fit', () => {
    expect(() => load([buffer('x', [2 ** 38])], [])).toThrow(
      /program p needs 1048576 MiB for its arena \(planned\), and the GPU has \d+ MiB free/,
    );
    load([buffer('x', [4])], []).dispose();
  });

  test('gives its memory back: a thousand are loaded, run and disposed of', () => {
    const { grown, arenas } = openAndClose(
      { gpu: 'bf16' },
      (program, plan) => loadCuda(program, plan, 'bf16'),
      () => addon().cudaMemory().total - addon().cudaMemory().free,
    );
    expect(arenas).toBeGreaterThan(500e6);
    // The driver takes and frees pages of 2 MiB.
    expect(Math.abs(grown)).toBeLessThanOrEqual(4 * 2 ** 20);
  });
});
