/** The native runtime: storages, memory, programs of several calls, and what it says of programs that are wrong. */
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { NativePlan, NativeProgram } from '../native/addon.ts';
import { addon, errorOf, layOut, random, toBf16 } from './native/case.ts';

type Buffer = NativeProgram['buffers'][number];
type Call = NativeProgram['calls'][number];

function buffer(name: string, shape: readonly number[], storage: Buffer['storage'] = 'float32'): Buffer {
  return { name, shape, storage };
}

function call(kernel: string, inputs: number[], output: number, attributes: Call['attributes'] = {}): Call {
  return { kernel, inputs, outputs: [output], attributes };
}

function program(buffers: Buffer[], calls: Call[]): NativeProgram {
  return { name: 'p', buffers, calls };
}

function load(given: NativeProgram, plan: NativePlan = layOut(given.buffers), threads = 1) {
  const { Executable } = addon();
  return new Executable(given, plan, { device: 'cpu', threads });
}

describe('storages', () => {
  test('float32, int32 and uint8 are kept to the bit', () => {
    const executable = load(program([buffer('f', [3]), buffer('i', [2], 'int32'), buffer('u', [5], 'uint8')], []));
    const contents = [
      Float32Array.of(1.5, -0, 1e-45),
      Int32Array.of(-(2 ** 31), 7),
      Uint8Array.of(0, 1, 127, 128, 255),
    ];
    for (const [i, data] of contents.entries()) executable.write(i, data);
    expect(contents.map((_, i) => executable.read(i))).toEqual(contents);
  });

  test('bf16 rounds to nearest even', () => {
    const next = random(5);
    const values = Float32Array.from({ length: 1001 }, () => next() * 10 ** (30 * next()));
    const ties = [1 + 2 ** -8, 1 + 3 * 2 ** -8, -1 - 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 1 + 2 ** -8 - 2 ** -20];
    const given = Float32Array.of(...values, ...ties, 0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY);
    const executable = load(program([buffer('h', [given.length], 'bf16')], []));
    executable.write(0, given);
    expect(executable.read(0)).toEqual(given.map(toBf16));
  });

  test('bf16 keeps NaN, also one whose upper half alone would be infinity, and overflows to infinity', () => {
    const payloads = new Float32Array(Uint32Array.of(0x7fc00000, 0x7f800001, 0xff80ffff, 0x7f7fffff).buffer);
    const executable = load(program([buffer('h', [4], 'bf16')], []));
    executable.write(0, payloads);
    expect([...executable.read(0)]).toEqual([Number.NaN, Number.NaN, Number.NaN, Number.POSITIVE_INFINITY]);
  });

  test('a buffer refuses another type and another length, and says what it takes', () => {
    const executable = load(program([buffer('w', [2, 3], 'bf16'), buffer('ids', [4], 'int32')], []));
    expect(() => executable.write(0, new Float32Array(5))).toThrow(
      'buffer "w" (bf16 [2, 3]) is written from a Float32Array of 6 elements',
    );
    expect(() => executable.write(1, new Float32Array(4))).toThrow('Int32Array of 4 elements');
    expect(() => executable.write(2, new Float32Array(4))).toThrow('no buffer 2');
    expect(() => executable.read(-1)).toThrow('-1');
  });
});

describe('a program', () => {
  /** y = gelu(x wᵀ + b), then the square of y over itself. */
  const chain = program(
    [
      buffer('x', [4, 3]),
      buffer('w', [5, 3]),
      { ...buffer('b', [5]), data: Float32Array.of(1, 2, 3, 4, 5) },
      buffer('y', [4, 5]),
    ],
    [call('Linear', [0, 1, 2], 3), call('Gelu', [3], 3), call('Multiply', [3, 3], 3)],
  );

  test('runs its calls in order, constants being written at load', () => {
    const executable = load(chain);
    const x = Float32Array.from({ length: 12 }, (_, i) => i / 7 - 1);
    const w = Float32Array.from({ length: 15 }, (_, i) => Math.cos(i));
    executable.write(0, x);
    executable.write(1, w);
    executable.run();
    const expected = Array.from({ length: 20 }, (_, e) => {
      const [n, m] = [Math.floor(e / 5), e % 5];
      const sum = [0, 1, 2].reduce((total, k) => total + x[n * 3 + k]! * w[m * 3 + k]!, m + 1);
      return (0.5 * sum * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (sum + 0.044715 * sum ** 3)))) ** 2;
    });
    expect(errorOf(executable.read(3) as Float32Array, expected)).toBeLessThan(1e-6);
  });

  test('keeps a state between runs', () => {
    const executable = load(program([buffer('s', [3]), buffer('one', [3])], [call('Add', [0, 1], 0)]));
    executable.write(1, Float32Array.of(1, 2, 3));
    for (let i = 0; i < 5; i++) executable.run();
    expect(executable.read(0)).toEqual(Float32Array.of(5, 10, 15));
  });

  test('starts from zeroed memory', () => {
    expect(load(program([buffer('z', [9])], [])).read(0)).toEqual(new Float32Array(9));
  });

  test('says what memory it takes', () => {
    const buffers = [buffer('a', [16]), buffer('b', [16]), buffer('unused', [100])];
    const plan = { arenaBytes: 1024, offsets: [0, 64, 128] };
    const one = load(program(buffers, [call('Gelu', [0], 1)]), plan);
    expect([one.arenaBytes, one.highWaterBytes]).toEqual([1024, 128]);
    const three = load(program(buffers, [call('Gelu', [0], 1)]), plan, 3);
    expect(three.workspaceBytes).toBe(3 * one.workspaceBytes);
  });

  test('goes with the garbage where nobody disposes of it, because the collector knows its size', async () => {
    const megabytes = () => process.memoryUsage().rss / 2 ** 20;
    const before = megabytes();
    let most = 0;
    for (let i = 0; i < 60; i++) {
      load(program([buffer('x', [4, 2 ** 20])], []));
      // Finalizers run between turns of the event loop.
      await setImmediate();
      most = Math.max(most, megabytes() - before);
    }
    // Of 960 MB. Unknown to the collector all of it stays, since the objects themselves are small.
    expect(most).toBeLessThan(600);
  });

  test('cannot be used once disposed of', () => {
    const executable = load(chain);
    executable.dispose();
    executable.dispose();
    for (const use of [() => executable.run(), () => executable.read(0), () => executable.arenaBytes]) {
      expect(use).toThrow('the executable has been disposed of');
    }
  });
});

describe('data out of range stops a run and names the call', () => {
  test('a token id', () => {
    const buffers = [buffer('wte', [10, 4]), buffer('ids', [1, 3], 'int32'), buffer('y', [1, 3, 4])];
    const executable = load(program(buffers, [call('Embedding', [0, 1], 2)]));
    for (const id of [10, -1]) {
      executable.write(1, Int32Array.of(0, 9, id));
      expect(() => executable.run()).toThrow(
        `program p, call 0 (Embedding): ids[2] is ${id}, but the table has rows 0 to 9`,
      );
    }
  });

  test('a target', () => {
    const buffers = [
      buffer('h', [2, 4]),
      buffer('wte', [10, 4]),
      buffer('t', [2], 'int32'),
      buffer('loss', []),
      buffer('s', [2, 10]),
    ];
    const executable = load(program(buffers, [{ ...call('CrossEntropy', [0, 1, 2], 3), scratch: 4 }]));
    executable.write(2, Int32Array.of(-1, 10));
    expect(() => executable.run()).toThrow('targets[1] is 10, but the table has rows 0 to 9');
  });

  test('a cache position', () => {
    const buffers = [buffer('cache', [1, 8, 4]), buffer('qkv', [1, 1, 12]), buffer('positions', [1], 'int32')];
    const executable = load(program(buffers, [call('CacheWrite', [0, 1, 2], 0, { part: 1 })]));
    executable.write(2, Int32Array.of(8));
    expect(() => executable.run()).toThrow('positions[0] is 8, but the cache holds positions 0 to 7');
  });
});

describe('a program that is wrong is refused at load', () => {
  const x = buffer('x', [4, 3]);
  const y = buffer('y', [4, 5]);
  const linear = (buffers: Buffer[], inputs = [0, 1]) => program(buffers, [call('Linear', inputs, buffers.length - 1)]);

  const wrong: [string, NativeProgram, string][] = [
    [
      'unknown kernel',
      program([x], [call('Softplus', [0], 0)]),
      'program p, call 0 (Softplus) names a kernel that this runtime does not have',
    ],
    ['missing operand', linear([x, y], [0]), 'call 0 (Linear) lacks operand 1 (w)'],
    [
      'extra operand',
      linear([x, buffer('w', [5, 3]), buffer('b', [5]), y, x, y], [0, 1, 2, 3, 4]),
      'has 5 operands; it takes 4',
    ],
    [
      'operand shape',
      linear([x, buffer('h.0.w', [5, 2]), y]),
      'operand 1 (w, buffer "h.0.w") has shape [5, 2]; it must be [any, 3]',
    ],
    ['bias shape', linear([x, buffer('w', [5, 3]), buffer('b', [4]), y], [0, 1, 2]), 'it must have 5 elements'],
    [
      'operand storage',
      linear([buffer('x', [4, 3], 'bf16'), buffer('w', [5, 3]), y]),
      'operand 0 (x, buffer "x") is stored as bf16; it must be float32',
    ],
    [
      'output shape',
      linear([x, buffer('w', [5, 3]), buffer('y', [4, 4])]),
      'makes 20 elements, but its output "y" has shape [4, 4]',
    ],
    [
      'output storage',
      linear([x, buffer('w', [5, 3]), buffer('y', [4, 5], 'bf16')]),
      'its output "y" is stored as bf16',
    ],
    [
      'operand that is no buffer',
      program([x], [call('Gelu', [7], 0)]),
      'names buffer 7, but the program has buffers 0 to 0',
    ],
    ['no output', program([x], [{ ...call('Gelu', [0], 0), outputs: [] }]), 'has no output'],
    [
      'missing attribute',
      program([x, buffer('g', [3]), buffer('b', [3])], [call('LayerNorm', [0, 1, 2], 0)]),
      'lacks the attribute epsilon',
    ],
    [
      'attribute out of range',
      program([buffer('qkv', [1, 2, 12]), buffer('y', [1, 2, 4])], [call('CausalAttention', [0], 1, { heads: 3 })]),
      'has 3 heads, which do not divide a width of 4',
    ],
    [
      'missing scratch',
      program(
        [x, buffer('t', [9, 3]), buffer('n', [4], 'int32'), buffer('l', [])],
        [call('CrossEntropy', [0, 1, 2], 3)],
      ),
      'needs a scratch buffer of at least 9 floats',
    ],
    ['output over an operand', program([x], [call('Linear', [0, 0], 0)]), 'makes 16 elements'],
    [
      'transposition in place',
      program([buffer('s', [3, 3])], [call('Transpose', [0], 0, { perm: [1, 0] })]),
      'writes its output "s" over operand 0 ("s")',
    ],
    ['empty shape', program([buffer('e', [0, 3])], []), 'buffer "e": shape [0, 3] has an empty dimension'],
    [
      'slice outside',
      program([x, buffer('y', [2, 3])], [call('Slice', [0], 1, { begin: [3, 0], size: [2, 3] })]),
      'takes [2, 3] from [3, 0] of [4, 3]',
    ],
    [
      'LoRA columns outside',
      program([x, buffer('u', [4, 2]), buffer('b', [2, 2]), x], [call('LoraUpdate', [0, 1, 2], 3, { offsets: [2] })]),
      'updates columns 2 to 4 of 3',
    ],
  ];

  test.each(wrong)('%s', (_, given, message) => {
    expect(() => load(given)).toThrow(message);
  });

  test('a storage that there is none of', () => {
    const odd = program([{ ...x, storage: 'float16' as 'bf16' }], []);
    expect(() => load(odd, { arenaBytes: 64, offsets: [0] })).toThrow('stored as "float16"');
  });

  test('a plan that does not hold the program', () => {
    const one = program([x], []);
    expect(() => load(one, { arenaBytes: 40, offsets: [0] })).toThrow('bytes 0 to 48 lie outside the arena of 40');
    expect(() => load(one, { arenaBytes: 256, offsets: [32] })).toThrow('offset 32 is not a multiple of 64');
    expect(() => load(one, { arenaBytes: 256, offsets: [] })).toThrow('has 1 buffers, but its plan has 0 offsets');
    expect(() => load(one, { arenaBytes: 2 ** 52, offsets: [0] })).toThrow('cannot allocate');
  });

  test('a plan that pages what there is none of, or no room for', () => {
    const buffers = [buffer('a', [20]), buffer('b', [20])];
    const paging = (bytes: number, paged: number[]) =>
      load(program(buffers, [call('Gelu', [0], 1)]), {
        arenaBytes: 128,
        offsets: [0, 0],
        paged: { bytes, buffers: paged },
      });
    expect(() => paging(64, [1])).toThrow('buffer "b": bytes 0 to 80 lie outside the paged memory of 64');
    expect(() => paging(128, [2])).toThrow('has no buffer 2 to page');
    // Two regions, so that the same offset is another place.
    const executable = paging(128, [1]);
    expect([executable.arenaBytes, executable.pagedBytes, executable.highWaterBytes]).toEqual([128, 128, 80]);
    executable.write(0, new Float32Array(20).fill(3));
    executable.run();
    expect(executable.read(0)).toEqual(new Float32Array(20).fill(3));
    expect(executable.read(1)[7]).toBeCloseTo(2.9964, 4);
  });

  test('buffers of one call that overlap in the arena', () => {
    const calls = [call('Gelu', [0], 1)];
    const overlapping = { arenaBytes: 256, offsets: [0, 64] };
    expect(() => load(program([buffer('a', [20]), buffer('b', [20])], calls), overlapping)).toThrow(
      'writes its output "b" over operand 0 ("a"); give them separate memory',
    );
  });

  test('devices and threads that there are none of', () => {
    const { Executable, devices, cudaUnavailable } = addon();
    const one = program([x], []);
    const plan = layOut(one.buffers);
    expect(devices()[0]).toEqual({ kind: 'cpu', name: 'cpu' });
    expect(devices().some(({ kind }) => kind === 'cuda')).toBe(cudaUnavailable() === undefined);
    if (cudaUnavailable() !== undefined)
      expect(() => new Executable(one, plan, { device: 'cuda', precision: 'float32' })).toThrow(
        /there is no device "cuda".*\(.+\)/,
      );
    expect(() => new Executable(one, plan, { device: 'cpu', threads: 0 })).toThrow(
      'threads is 0; it must be 1 to 1024',
    );
  });
});
