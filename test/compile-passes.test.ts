import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { optimize, type Pass, passesFor } from '../compile/optimize.ts';
import { fuseAdditions } from '../compile/passes/additions.ts';
import { mergeConstants } from '../compile/passes/constants.ts';
import { dropDeadCalls } from '../compile/passes/dead_calls.ts';
import { recomputeCheap } from '../compile/passes/recompute.ts';
import { reuseDyingOperands } from '../compile/passes/reuse_operands.ts';
import { attachScratch } from '../compile/passes/scratch.ts';
import { updateStatesInPlace } from '../compile/passes/state_updates.ts';
import { aliasViews } from '../compile/passes/views.ts';
import { maxLiveBytes, planMemory } from '../compile/plan.ts';
import type { Program } from '../compile/program.ts';
import { loadTfjs } from '../compile/tfjs_executable.ts';
import { trace } from '../compile/trace.ts';
import { ProgramError, validate } from '../compile/validate.ts';
import { tokenLogProb } from '../model/kernels/cross_entropy.ts';
import { gelu } from '../model/kernels/gelu.ts';
import { linear } from '../model/kernels/linear.ts';
import { dequantizeAbsmax } from '../model/kernels/nf4_matmul.ts';
import type { Step } from '../model/scope.ts';
import { tf, useBackend } from '../model/tf.ts';
import { type Results, randomSteps, runTwice, stepOf } from './support/random_steps.ts';

/** Runs a program on TF.js's cpu backend, whose arithmetic is the same in every program. */
async function evaluate(program: Program): Promise<Results[]> {
  validate(program);
  return runTwice(await loadTfjs(program, planMemory(program), 'cpu'));
}

beforeAll(() => useBackend('cpu'));

describe('passes keep every output and every state, to the bit, over two runs', () => {
  test.each([...passesFor({ rematerialize: 'block' }), fuseAdditions].map((pass) => [pass.name, pass] as const))(
    '%s alone',
    async (_, pass: Pass) => {
      await fc.assert(
        fc.asyncProperty(randomSteps, async (step) => {
          const program = trace('random', stepOf(step));
          expect(await evaluate(pass(program))).toEqual(await evaluate(program));
        }),
        { numRuns: 40 },
      );
    },
  );

  test('all of them, and once more changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(randomSteps, async (step) => {
        const program = trace('random', stepOf(step));
        const finished = optimize(program);
        expect(await evaluate(finished)).toEqual(await evaluate(program));
        expect(optimize(finished)).toEqual(finished);
        expect(maxLiveBytes(finished)).toBeLessThanOrEqual(maxLiveBytes(program));
      }),
      { numRuns: 150 },
    );
  });
});

const kernelsOf = (program: Program) => program.calls.map(({ kernel }) => kernel);
const bufferNamed = (program: Program, name: string) => program.buffers.findIndex((buffer) => buffer.name === name);

describe('each pass', () => {
  test('dropDeadCalls removes what no output and no state needs, and keeps every named buffer', () => {
    const program = dropDeadCalls(
      trace('step', (scope) => {
        const x = scope.input('x', [2, 3], 'float32');
        scope.weight('unused', [3], 'float32', 'weights');
        gelu(gelu(x));
        return { y: gelu(x) };
      }),
    );
    expect(kernelsOf(program)).toEqual(['Gelu']);
    expect(program.buffers.map(({ name }) => name)).toEqual(['x', 'unused', 'Gelu:2']);
  });

  test('aliasViews makes reshapes and clones views, also of inputs, and merges those that are equal', () => {
    const program = aliasViews(
      trace('step', (scope) => {
        const x = scope.input('x', [2, 3], 'float32');
        const flat = () => tf.reshape(tf.clone(x), [6]);
        return { y: tf.add(flat(), flat()), same: tf.add(tf.reshape(flat(), [2, 3]), x) };
      }),
    );
    expect(kernelsOf(program)).toEqual(['Add', 'Add']);
    const view = program.buffers.findIndex((buffer) => buffer.view !== undefined);
    expect(program.buffers[view]).toMatchObject({ shape: [6], role: 'input', view: 0 });
    expect(program.calls.map(({ inputs }) => inputs)).toEqual([
      [view, view],
      [0, 0],
    ]);
  });

  test('aliasViews keeps the copy of a state that is still read after the state has changed', () => {
    const program = optimize(
      trace('step', (scope) => {
        const s = scope.state('s', [2], 'adapters');
        const old = tf.clone(s);
        scope.update(s, tf.add(s, scope.input('x', [2], 'float32')));
        return { old };
      }),
    );
    expect(kernelsOf(program)).toEqual(['Identity', 'Add']);
  });

  test('mergeConstants joins equal constants, and not 0 with -0', () => {
    const program = mergeConstants(
      trace('step', (scope) => {
        const x = scope.input('x', [2], 'float32');
        const values = [tf.scalar(0), tf.scalar(0), tf.scalar(-0), tf.tensor1d([0])];
        return Object.fromEntries(values.map((value, index) => [`y${index}`, tf.add(x, value)]));
      }),
    );
    const operands = program.calls.map(({ inputs }) => inputs[1]!);
    expect(operands[0]).toBe(operands[1]);
    expect(new Set(operands).size).toBe(3);
  });

  test('updateStatesInPlace writes where the value is made, unless the old content is read later', () => {
    const step =
      (late: boolean): Step =>
      (scope) => {
        const s = scope.state('s', [2], 'adapters');
        const x = scope.input('x', [2], 'float32');
        const next = tf.sub(s, x);
        const outputs = { y: late ? tf.mul(s, x) : next };
        scope.update(s, next);
        return outputs;
      };
    const early = updateStatesInPlace(trace('step', step(false)));
    expect(kernelsOf(early)).toEqual(['Sub']);
    expect(early.calls[0]).toMatchObject({ inputs: [0, 1], outputs: [0] });
    expect(early.outputs.y).toBe(0);
    expect(kernelsOf(updateStatesInPlace(trace('step', step(true))))).toEqual(['Sub', 'Multiply', 'Identity']);
  });

  test('updateStatesInPlace lets a kernel overwrite what it reads only if it is made for that', () => {
    const program = updateStatesInPlace(
      trace('step', (scope) => {
        const s = scope.state('s', [2, 2], 'adapters');
        scope.update(s, linear(s, scope.weight('w', [2, 2], 'float32', 'weights')));
        return {};
      }),
    );
    expect(kernelsOf(program)).toEqual(['Linear', 'Identity']);
  });

  test('reuseDyingOperands writes over temporaries that die, exchanging the operands of Add if that helps', () => {
    const program = reuseDyingOperands(
      trace('step', (scope) => {
        const x = scope.input('x', [2, 3], 'float32');
        const w = scope.weight('w', [3, 3], 'float32', 'weights');
        return { y: tf.add(x, tf.mul(linear(x, w), x)) };
      }),
    );
    const temporary = bufferNamed(program, 'Linear:0');
    expect(program.calls).toMatchObject([
      { kernel: 'Linear', outputs: [temporary] },
      { kernel: 'Multiply', inputs: [temporary, bufferNamed(program, 'x')], outputs: [temporary] },
      { kernel: 'Add', inputs: [temporary, bufferNamed(program, 'x')], outputs: [temporary] },
    ]);
    expect(program.buffers.filter(({ role }) => role === 'temporary')).toHaveLength(1);
  });

  test('recomputeCheap makes scales anew before each use', () => {
    const program = recomputeCheap(
      trace('step', (scope) => {
        const scales = dequantizeAbsmax(
          scope.weight('codes', [6], 'uint8', 'weights'),
          scope.weight('nested', [1], 'float32', 'weights'),
          scope.weight('codebook', [256], 'float32', 'weights'),
          scope.weight('offset', [1], 'float32', 'weights'),
        );
        const x = scope.input('x', [6], 'float32');
        return { y: tf.mul(gelu(tf.add(x, scales)), scales) };
      }),
    );
    expect(kernelsOf(program)).toEqual(['DequantizeAbsmax', 'Add', 'Gelu', 'DequantizeAbsmax', 'Multiply']);
    validate(program);
  });

  test('attachScratch gives a kernel the space that it declares, which the plan counts', () => {
    const traced = trace('step', (scope) => ({
      y: tokenLogProb(
        scope.input('hidden', [5, 4], 'float32'),
        scope.weight('table', [1000, 4], 'bf16', 'weights'),
        scope.input('targets', [5], 'int32'),
      ),
    }));
    const program = attachScratch(traced);
    const scratch = program.buffers[program.calls[0]!.scratch!]!;
    expect(scratch).toMatchObject({ shape: [64, 1000], storage: 'float32', role: 'temporary' });
    expect(planMemory(program).arenaBytes - planMemory(traced).arenaBytes).toBe(64 * 1000 * 4);
    validate(program);
  });
});

describe('validate names what is wrong', () => {
  const good = trace('good', (scope) => ({
    y: linear(scope.input('x', [2, 3], 'float32'), scope.weight('w', [4, 3], 'float32', 'weights')),
  }));
  const [call] = good.calls;
  const broken: readonly (readonly [string, Program, RegExp])[] = [
    [
      'a read before the write',
      { ...good, calls: [{ ...call!, inputs: [2, 1] }] },
      /call 0 .*reads 'Linear:0', which nothing/,
    ],
    ['a write to a weight', { ...good, calls: [{ ...call!, outputs: [1] }] }, /it writes 'w', a weight/],
    [
      'a wrong shape',
      { ...good, buffers: good.buffers.with(2, { ...good.buffers[2]!, shape: [4, 2] }) },
      /gives \[2, 4\]/,
    ],
    ['an output never written', { ...good, calls: [] }, /output 'y' is never written/],
    [
      'two buffers of one name',
      { ...good, buffers: good.buffers.with(1, { ...good.buffers[1]!, name: 'x' }) },
      /two buffers/,
    ],
    ['a buffer that does not exist', { ...good, calls: [{ ...call!, inputs: [0, 9] }] }, /buffer 9 does not exist/],
    ['scratch that is an operand', { ...good, calls: [{ ...call!, scratch: 2 }] }, /is one of its operands/],
    [
      'a kernel that reads what it overwrites',
      {
        name: 'square',
        buffers: [{ name: 's', shape: [2, 2], storage: 'float32', role: 'state', group: 'adapters' }],
        calls: [{ kernel: 'Linear', inputs: [0, 0], outputs: [0], attributes: {} }],
        outputs: {},
      },
      /writes over its operand 0, 's'/,
    ],
    [
      'a view of another size',
      { ...good, buffers: [...good.buffers, { ...good.buffers[0]!, shape: [5], view: 0 }] },
      /does not fit buffer 0/,
    ],
  ];
  test.each(broken)('%s', (_, program, message) => {
    expect(() => validate(good)).not.toThrow();
    expect(() => validate(program)).toThrow(message);
    expect(() => validate(program)).toThrow(ProgramError);
  });
});
