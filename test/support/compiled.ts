/** A two-layer GPT-2 of width 64 for the tests of compiled steps: its options, and content for every buffer of its programs. */
import type { HostData } from '../../compile/host_access.ts';
import type { Executable } from '../../compile/program.ts';
import { weightShapes } from '../../model/checkpoint.ts';
import type { Gpt2Config } from '../../model/config.ts';
import { roundToBfloat16 } from '../../model/float16.ts';
import { adapterShapes, type LoraConfig } from '../../model/lora.ts';
import { type Matrices, type Matrix, nf4Parts } from '../../model/matrix.ts';
import { quantize, quantizeAbsmax } from '../../model/nf4.ts';

import { normals, toyText, toyWeights } from './toy.ts';

export const config: Gpt2Config = {
  vocabSize: 97,
  contextLength: 16,
  width: 64,
  layers: 2,
  heads: 4,
  epsilon: 1e-5,
};
export const shape = { batch: 3, length: 11 };
/** Without clipping, so that a gradient can be told from the first step's mean. */
export const adamw = { beta1: 0.9, beta2: 0.999, epsilon: 1e-6, weightDecay: 0.01, maxNorm: 0 };
/** Slices of c_attn, a whole matrix, and one whose input is four widths. */
export const lora: LoraConfig = { rank: 4, alpha: 6, targets: ['q', 'v', 'o', 'proj'] };

/** How the base of a test is stored. */
export const bases: Readonly<Record<'bf16' | 'nf4' | 'nf4, doubly', Matrix>> = {
  bf16: { kind: 'dense', storage: 'bf16' },
  nf4: { kind: 'nf4', block: 64, doubleQuantization: false },
  'nf4, doubly': { kind: 'nf4', block: 64, doubleQuantization: true },
};

/** The same storage for every matrix. */
export function everywhere(matrix: Matrix): Matrices {
  return () => matrix;
}

/** Content of every weight as it is stored, of adapters that do something, and of the inputs of a first step. */
export function contents(matrix: Matrix, model = config): Map<string, HostData> {
  const all = new Map<string, HostData>();
  const weights = toyWeights(model);
  for (const [name] of weightShapes(model)) {
    // Smaller than a toy's: at width 64 the residual stream would otherwise grow until attention saturates.
    const values = weights.get(name)!.map((value) => (name.includes('ln_') ? value : value / 2));
    const isMatrix = /c_attn\.weight|c_proj\.weight|c_fc\.weight/.test(name);
    if (isMatrix && matrix.kind === 'nf4') addQuantized(all, name, values, matrix.block, matrix.doubleQuantization);
    else all.set(name, roundToBfloat16(values));
  }
  for (const [name, [rows, columns]] of adapterShapes(model, lora)) {
    all.set(name, normals(rows! * columns!, 0.1, 3, name));
  }
  for (const [name, values] of Object.entries(toyText(shape.batch, shape.length, config.vocabSize)))
    all.set(name, values);
  all.set('hyper', Float32Array.of(1e-3, 1));
  all.set('step', Int32Array.of(1));
  return all;
}

function addQuantized(
  all: Map<string, HostData>,
  name: string,
  values: Float32Array,
  block: number,
  doubly: boolean,
): void {
  const { codes, absmax, codebook } = quantize(values, block);
  all.set(name, codes);
  all.set(name + nf4Parts.codebook, codebook);
  if (!doubly) {
    all.set(name + nf4Parts.absmax, absmax);
    return;
  }
  const nested = quantizeAbsmax(absmax);
  all.set(name + nf4Parts.absmax, nested.codes);
  all.set(name + nf4Parts.nestedAbsmax, nested.nestedAbsmax);
  all.set(name + nf4Parts.nestedCodebook, nested.nestedCodebook);
  all.set(name + nf4Parts.offset, Float32Array.of(nested.offset));
}

/** Writes what `all` has for the buffers of a program; states that it lacks stay zero. */
export function writeContents(executable: Executable, all: ReadonlyMap<string, HostData>): void {
  for (const { name, role, view } of executable.program.buffers) {
    const content = all.get(name);
    if (content !== undefined && view === undefined && role !== 'temporary') executable.write(name, content);
  }
}

/** Writes the number of a training step, from 1, and the learning rate of the tests where the program takes them, and runs it. */
export function runStep(executable: Executable, step: number): void {
  writeContents(
    executable,
    new Map<string, HostData>([
      ['hyper', Float32Array.of(1e-3, step)],
      ['step', Int32Array.of(step)],
    ]),
  );
  executable.run();
}

/** Names of a program's states. */
export function statesOf(executable: Executable): string[] {
  return executable.program.buffers.flatMap(({ name, role, view }) =>
    role === 'state' && view === undefined ? name : [],
  );
}
