/** Random small steps, for properties that hold of every program: of passes, and of the arena that the native runtime really uses. */
import fc from 'fast-check';
import type { Executable } from '../../compile/program.ts';
import { gelu } from '../../model/kernels/gelu.ts';
import { linear } from '../../model/kernels/linear.ts';
import type { Step } from '../../model/scope.ts';
import { type Tensor, tf } from '../../model/tf.ts';

const ROWS = 2;
const COLUMNS = 3;
const STATES = ['s0', 's1', 's2'];

/** One operation of a random step: picks its operands among what was made before. */
interface Operation {
  readonly kind: 'add' | 'multiply' | 'subtract' | 'linear' | 'gelu' | 'reshape' | 'clone' | 'constant';
  readonly a: number;
  readonly b: number;
}

/** A step, as plain data. */
export interface RandomStep {
  readonly operations: readonly Operation[];
  readonly updates: readonly number[];
  readonly outputs: readonly number[];
}

/** Kinds whose results IEEE 754 settles to the bit. */
const exact = ['add', 'multiply', 'subtract', 'reshape', 'clone', 'constant'] as const;

/** Steps of up to 14 operations over tensors [2, 3], three of them states. */
export const randomSteps = stepsOf([...exact, 'linear', 'gelu']);

/** The same, of operations whose results are the same bits wherever they run. */
export const exactSteps = stepsOf(exact);

function stepsOf(kinds: readonly Operation['kind'][]): fc.Arbitrary<RandomStep> {
  const operation = fc.record<Operation>({ kind: fc.constantFrom(...kinds), a: fc.nat(), b: fc.nat() });
  return fc.record({
    operations: fc.array(operation, { minLength: 1, maxLength: 14 }),
    updates: fc.array(fc.nat(), { minLength: STATES.length, maxLength: STATES.length }),
    outputs: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
  });
}

/** A step over [2, 3] tensors; everything is left at hand, so that operands live on, die, or are states. */
export function stepOf({ operations, updates, outputs }: RandomStep): Step {
  return (scope) => {
    const states = STATES.map((name) => scope.state(name, [ROWS, COLUMNS], 'adapters'));
    const w = scope.weight('w', [COLUMNS, COLUMNS], 'float32', 'weights');
    const made: Tensor[] = [scope.input('x', [ROWS, COLUMNS], 'float32'), ...states];
    const at = (index: number) => made[index % made.length]!;
    for (const { kind, a, b } of operations) {
      const x = at(a);
      switch (kind) {
        case 'add':
          made.push(tf.add(x, at(b)));
          break;
        case 'multiply':
          made.push(tf.mul(x, at(b)));
          break;
        case 'subtract':
          made.push(tf.sub(x, at(b)));
          break;
        case 'linear':
          made.push(linear(x, w));
          break;
        case 'gelu':
          made.push(gelu(x));
          break;
        case 'reshape':
          made.push(tf.reshape(tf.mul(tf.reshape(x, [6]), tf.reshape(at(b), [6])), [ROWS, COLUMNS]));
          break;
        case 'clone':
          made.push(tf.clone(x));
          break;
        case 'constant':
          made.push(tf.add(x, tf.scalar(b % 3)));
          break;
      }
    }
    for (const [index, state] of states.entries()) scope.update(state, at(updates[index]!));
    return Object.fromEntries(outputs.map((output, index) => [`y${index}`, at(output)]));
  };
}

/** Outputs and states by name. */
export type Results = Record<string, number[]>;

/** Runs a loaded step twice from a fixed beginning, then disposes of it. @returns every output and state after each run. */
export function runTwice(executable: Executable): Results[] {
  const values = (seed: number, size: number) =>
    Float32Array.from({ length: size }, (_, i) => Math.sin(seed + 3 * i) / 2);
  executable.write('x', values(1, ROWS * COLUMNS));
  executable.write('w', values(2, COLUMNS * COLUMNS));
  for (const [index, name] of STATES.entries()) executable.write(name, values(3 + index, ROWS * COLUMNS));
  const results = [0, 1].map(() => {
    executable.run();
    const names = [...Object.keys(executable.program.outputs), ...STATES];
    return Object.fromEntries(names.map((name) => [name, [...executable.read(name)]]));
  });
  executable.dispose();
  return results;
}
