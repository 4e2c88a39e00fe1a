/** Models compared token by token: each column against float64, on every device of this machine, and through the stage. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { load } from '../compile/executable.ts';
import { trace } from '../compile/trace.ts';
import { comparedColumns, compareLogits } from '../model/kernels/compare_logits.ts';
import type { Scope } from '../model/scope.ts';
import { openComparison } from '../stages/evaluate/comparison.ts';
import type { Host } from '../stages/shared/executables.ts';
import type { FrozenModel } from '../stages/shared/model_folder.ts';
import { compareLogits64 } from './support/float64.ts';
import { normals } from './support/toy.ts';

const [rows, vocabSize] = [4, 1031];

const ofLogits = (scope: Scope) => {
  const logits = (name: string) => scope.input(name, [rows, vocabSize], 'float32');
  const targets = scope.input('targets', [rows], 'int32');
  return { compared: compareLogits(logits('logits'), logits('reference.logits'), targets) };
};

/** Rows of logits, and of a reference that is another by about `apart`. */
function pairOfLogits(seed: number, size: number, apart: number) {
  const reference = normals(rows * vocabSize, size, seed, 'reference');
  const noise = normals(rows * vocabSize, apart, seed, 'noise');
  return { reference, logits: reference.map((x, i) => x + noise[i]!) };
}

describe.each(['cpu-native', 'tfjs-cpu', 'tfjs-wasm'] as const)('on %s', (device) => {
  test('every column is that of float64, for models far apart and for nearly equal ones', async () => {
    const program = await load(trace('comparison', ofLogits), { device });
    const property = fc.property(
      fc.integer({ min: 0, max: 1e6 }),
      fc.constantFrom(0.1, 1, 10, 40),
      fc.constantFrom(0, 1e-3, 0.1, 3),
      fc.array(fc.integer({ min: -1, max: vocabSize - 1 }), { minLength: rows, maxLength: rows }),
      (seed, size, apart, targets) => {
        const { logits, reference } = pairOfLogits(seed, size, apart);
        program.write('logits', logits);
        program.write('reference.logits', reference);
        program.write('targets', Int32Array.from(targets));
        program.run();
        const compared = program.read('compared');
        targets.forEach((target, row) => {
          const of = (data: Float32Array) => data.subarray(row * vocabSize, (row + 1) * vocabSize);
          const expected = compareLogits64(of(logits), of(reference), target);
          comparedColumns.forEach((column, i) => {
            const actual = compared[row * comparedColumns.length + i]!;
            // TF.js takes logarithms of probabilities in float32, whose unit roundoff is 6e-8 of the largest logit.
            const tolerance = column.endsWith('op') ? 0 : device === 'cpu-native' ? 1e-6 : 4e-6 * Math.max(1, size);
            const error = Math.abs(actual - expected[column]) / Math.max(1, Math.abs(expected[column]));
            expect(error, `${column} of ${expected[column]}`).toBeLessThanOrEqual(tolerance);
          });
        });
        // A model that says the same to the bit is at no distance at all.
        if (apart === 0)
          expect(targets.map((_, row) => compared[row * comparedColumns.length + 4])).toEqual([0, 0, 0, 0]);
      },
    );
    fc.assert(property, { numRuns: device === 'cpu-native' ? 100 : 10 });
    program.dispose();
  });
});

test('refuses a target outside the vocabulary', async () => {
  const program = await load(trace('comparison', ofLogits), { device: 'cpu-native' });
  program.write('targets', Int32Array.of(0, -1, vocabSize, 3));
  expect(() => program.run()).toThrow(`targets[2] is ${vocabSize}, but there are logits 0 to ${vocabSize - 1}`);
  program.dispose();
});

test('the stage compares hidden states in chunks of any number of rows', async () => {
  const width = 24;
  const model = (seed: number) => {
    // bf16 has 8 significant bits: eighths hold what is written.
    const table = normals(vocabSize * width, 1, seed, 'table').map((x) => Math.round(8 * x) / 8);
    const config = { vocabSize, width, contextLength: 8, layers: 1, heads: 1, epsilon: 1e-5 };
    return { config, table, writeTo: (program, prefix = '') => program.write(`${prefix}wte.weight`, table) } as Pick<
      FrozenModel,
      'config' | 'writeTo'
    > & { readonly table: Float32Array };
  };
  const [mine, theirs] = [model(1), model(2)];
  const host: Host = { cpus: 2, device: 'cpu', warn: (message) => expect.fail(message), measure: () => {} };
  const comparison = await openComparison(mine, theirs, host);
  for (const count of [1, 64, 65, 200]) {
    const hidden = { model: normals(count * width, 1, count, 'a'), reference: normals(count * width, 1, count, 'b') };
    const targets = Int32Array.from({ length: count }, (_, row) => (row % 4 === 2 ? -1 : (row * 97) % vocabSize));
    const expected = [...targets.keys()].flatMap((row) => {
      if (targets[row]! < 0) return [];
      const logits = (states: Float32Array, table: Float32Array) =>
        Array.from({ length: vocabSize }, (_, v) => {
          let sum = 0;
          for (let c = 0; c < width; c++) sum += states[row * width + c]! * table[v * width + c]!;
          return sum;
        });
      const { logProb, top, referenceTop, referenceMargin, kl } = compareLogits64(
        logits(hidden.model, mine.table),
        logits(hidden.reference, theirs.table),
        targets[row]!,
      );
      const compared = {
        agrees: top === referenceTop,
        margin: expect.closeTo(referenceMargin, 4),
        kl: expect.closeTo(kl, 4),
      };
      return [{ logProb: expect.closeTo(logProb, 4), compared }];
    });
    expect(comparison.compare(hidden, targets)).toEqual(expected);
  }
  comparison.dispose();
});
