/** NF4 matrices dequantized ahead of their products: programs whose demands lie in every way to what else they call. */
import { expect, test } from 'vitest';
import type { NativeExecutable, NativeProgram, Precision } from '../../native/addon.ts';
import { addon, bits, errorOf, layOut, naturals, random } from '../native/case.ts';
import { codebook } from '../native/nf4_cases.ts';
import { onGpu } from './device.ts';

/**
 * A product with a matrix of its own, doubly quantized or not, forward or backward; one with a matrix that the program quantizes
 * just before, into the memory of the one before it; or a loss, whose workspace reaches the matrices that wait.
 */
type Link = 'forward' | 'backward' | 'nested' | 'quantized' | 'loss';

const [N, C, V, block] = [40, 128, 20_000, 64];
const n = C * C;

interface Chain {
  readonly program: NativeProgram;
  /** What is written before a run. */
  readonly contents: ReadonlyMap<number, Float32Array | Int32Array | Uint8Array>;
  /** What every link gives. */
  readonly outputs: readonly number[];
}

/** The links in a row: each product takes what the one before it gave. */
function chainOf(links: readonly Link[]): Chain {
  const next = random(links.length);
  const buffers: NativeProgram['buffers'][number][] = [];
  const contents = new Map<number, Float32Array | Int32Array | Uint8Array>();
  const buffer = (name: string, shape: number[], storage: 'float32' | 'int32' | 'uint8' = 'float32') =>
    buffers.push({ name, shape, storage }) - 1;
  const given = (name: string, shape: number[], data: Float32Array | Int32Array | Uint8Array) => {
    const storage = data instanceof Float32Array ? 'float32' : data instanceof Int32Array ? 'int32' : 'uint8';
    const index = buffer(name, shape, storage);
    contents.set(index, data);
    return index;
  };
  const numbers = (count: number, scale: number) => Float32Array.from({ length: count }, () => scale * next());
  const book = given('codebook', [16], Float32Array.from(codebook));
  const thresholds = given(
    'thresholds',
    [15],
    Float32Array.from({ length: 15 }, (_, i) => (codebook[i]! + codebook[i + 1]!) / 2),
  );
  const quantized = { absmax: buffer('absmax', [n / block]), codes: buffer('codes', [n / 2], 'uint8') };
  const [table, scratch] = [given('table', [V, C], numbers(V * C, 0.1)), buffer('scratch', [64, V])];
  const calls: NativeProgram['calls'][number][] = [];
  const outputs: number[] = [];
  let x = given('x', [N, C], numbers(N * C, 1));
  const product = (kernel: 'Nf4MatMul' | 'Nf4MatMulBackwardInput', operands: number[], attributes = {}) => {
    const y = buffer('y', [N, C]);
    const extent = kernel === 'Nf4MatMul' ? 'outFeatures' : 'inFeatures';
    calls.push({ kernel, inputs: [x, ...operands], outputs: [y], attributes: { block, [extent]: C, ...attributes } });
    outputs.push(y);
    x = y;
  };
  const codes = () => given('codes', [n / 2], Uint8Array.from(naturals(n / 2, 256)));
  for (const link of links) {
    if (link === 'loss') {
      const loss = buffer('loss', []);
      const targets = given('targets', [N], Int32Array.from(naturals(N, V)));
      calls.push({
        kernel: 'CrossEntropy',
        inputs: [x, table, targets],
        outputs: [loss],
        scratch,
        attributes: {},
      });
      outputs.push(loss);
    } else if (link === 'quantized') {
      const w = given('w', [C, C], numbers(n, 0.1));
      calls.push({
        kernel: 'Nf4Quantize',
        inputs: [w, thresholds],
        outputs: [quantized.absmax, quantized.codes],
        attributes: { block },
      });
      product('Nf4MatMul', [quantized.codes, quantized.absmax, book]);
    } else if (link === 'nested') {
      const scales = [
        given('absmax', [n / block], Uint8Array.from(naturals(n / block, 256))),
        book,
        given('nestedAbsmax', [1], numbers(1, 0.1)),
        given('nestedCodebook', [256], numbers(256, 1)),
        given('offset', [1], Float32Array.of(0.1)),
      ];
      product('Nf4MatMul', [codes(), ...scales], { nestedBlock: 256 });
    } else {
      const absmax = given('absmax', [n / block], numbers(n / block, 0.1).map(Math.abs));
      product(link === 'forward' ? 'Nf4MatMul' : 'Nf4MatMulBackwardInput', [codes(), absmax, book]);
    }
  }
  return { program: { name: 'chain', buffers, calls }, contents, outputs };
}

function load({ program, contents }: Chain, on: Precision | 'cpu'): NativeExecutable {
  const { Executable } = addon();
  const options =
    on === 'cpu' ? ({ device: 'cpu', threads: 2 } as const) : ({ device: 'cuda', precision: on } as const);
  const executable = new Executable(program, layOut(program.buffers), options);
  for (const [index, data] of contents) executable.write(index, data);
  return executable;
}

/** What the links give once `run` has run them, their memory poisoned before. */
function outputsOf({ outputs, program }: Chain, executable: NativeExecutable, run: () => unknown) {
  for (const output of outputs) {
    const size = program.buffers[output]!.shape.reduce((product, extent) => product * extent, 1);
    executable.write(output, new Float32Array(size).fill(Number.NaN));
  }
  run();
  return outputs.map((output) => executable.read(output));
}

const chains: readonly (readonly Link[])[] = [
  ['forward'],
  ['forward', 'backward', 'nested', 'forward', 'nested', 'backward', 'forward'],
  ['loss', 'forward', 'forward', 'loss', 'nested', 'backward', 'loss', 'loss', 'forward', 'forward'],
  ['quantized', 'quantized', 'forward', 'quantized', 'nested', 'quantized'],
];

onGpu('matrices dequantized ahead', () => {
  test.each(chains.map((links) => [links.join(', '), links] as const))('agree with the CPU: %s', (_, links) => {
    const chain = chainOf(links);
    const cpu = load(chain, 'cpu');
    const expected = outputsOf(chain, cpu, () => cpu.run());
    cpu.dispose();
    for (const [precision, tolerance] of [
      ['float32', 1e-5],
      ['bf16', 3e-2],
    ] as const) {
      const gpu = load(chain, precision);
      const once = outputsOf(chain, gpu, () => gpu.run());
      for (const [i, values] of once.entries())
        expect(errorOf(values as Float32Array, expected[i]!), `link ${i}`).toBeLessThanOrEqual(tolerance);
      for (const run of [() => gpu.run(), () => gpu.time(3), () => gpu.profile()])
        expect(bits(outputsOf(chain, gpu, run)).equals(bits(once))).toBe(true);
      gpu.dispose();
    }
  });

  test('take two matrices’ room, however many there are, and none where a loss needs more', () => {
    const workspace = (...links: Link[]) => {
      const executable = load(chainOf(links), 'bf16');
      const { workspaceBytes } = executable;
      executable.dispose();
      return workspaceBytes;
    };
    const one = workspace('forward');
    expect(workspace('forward', 'forward') - one).toBe(2 * n);
    expect(workspace('forward', 'backward', 'nested', 'forward')).toBe(workspace('forward', 'backward'));
    expect(workspace('loss', 'forward', 'forward')).toBe(workspace('loss'));
  });
});
