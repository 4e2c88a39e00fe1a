import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { printProgram } from '../compile/print.ts';
import type { Program } from '../compile/program.ts';
import { trace } from '../compile/trace.ts';
import { validate } from '../compile/validate.ts';
import { gelu } from '../model/kernels/gelu.ts';
import { linear } from '../model/kernels/linear.ts';
import type { Scope, Step } from '../model/scope.ts';
import { tf, useBackend } from '../model/tf.ts';

const kernelsOf = (program: Program) => program.calls.map(({ kernel }) => kernel);
const refused = (step: Step) => expect(() => trace('step', step));

beforeAll(() => useBackend('cpu'));
afterEach(() => {
  expect(tf.getBackend()).toBe('cpu');
  expect(tf.engine().registryFactory).not.toHaveProperty('trace');
  expect(tf.memory().numTensors).toBe(0);
});

describe('a traced step', () => {
  test('holds its buffers with role, storage and group, and its calls in order', () => {
    const program = trace('step', (scope) => {
      const x = scope.input('x', [2, 3], 'float32');
      const w = scope.weight('w', [4, 3], 'bf16', 'weights');
      return { y: gelu(linear(x, w)) };
    });
    validate(program);
    expect(program.buffers.slice(0, 2)).toEqual([
      { name: 'x', shape: [2, 3], storage: 'float32', role: 'input', group: 'activations' },
      { name: 'w', shape: [4, 3], storage: 'bf16', role: 'weight', group: 'weights' },
    ]);
    expect(kernelsOf(program)).toEqual(['Linear', 'Gelu']);
    expect(program.buffers[program.outputs.y!]).toMatchObject({ shape: [2, 4], role: 'temporary' });
  });

  test('holds the backward pass, with the seed of the tape as a constant', () => {
    const program = trace('step', (scope) => {
      const x = scope.input('x', [2, 3], 'float32');
      const w = scope.state('w', [4, 3], 'adapters');
      const gradient = tf.grad((weight) => tf.sum(gelu(linear(x, weight))))(w);
      scope.update(w, gradient);
      return {};
    });
    validate(program);
    expect(kernelsOf(program)).toEqual(expect.arrayContaining(['GeluBackward', 'LinearBackwardWeight']));
    expect(kernelsOf(program)).not.toContain('LinearBackwardInput');
    const seed = program.buffers.find(({ role, shape }) => role === 'constant' && shape.length === 0);
    expect(seed?.data).toEqual(new Float32Array([1]));
    expect(program.calls.at(-1)).toMatchObject({ kernel: 'Identity', outputs: [1] });
  });

  test('a name asked for twice is one buffer, even if the first asking was inside a tidy', () => {
    const program = trace('step', (scope) => {
      const first = tf.tidy(() =>
        tf.add(scope.input('x', [2], 'float32'), scope.weight('w', [2], 'float32', 'weights')),
      );
      return { y: tf.mul(first, scope.weight('w', [2], 'float32', 'weights')) };
    });
    expect(program.buffers.filter(({ role }) => role === 'weight')).toHaveLength(1);
  });

  test('holds no data: weights of terabytes are traced in an instant', () => {
    const program = trace('step', (scope) => {
      const x = scope.input('x', [1, 1_000_000], 'float32');
      return { y: linear(x, scope.weight('w', [1_000_000, 1_000_000], 'float32', 'weights')) };
    });
    expect(program.buffers.filter(({ data }) => data !== undefined)).toEqual([]);
  });

  test('states that exchange their contents do so through copies', () => {
    const program = trace('step', (scope) => {
      const a = scope.state('a', [2], 'adapters');
      const b = scope.state('b', [2], 'adapters');
      scope.update(a, b);
      scope.update(b, a);
      return {};
    });
    validate(program);
    expect(printProgram(program).split('\n').slice(-4)).toEqual([
      '      0  %2 = Identity(b)',
      '      1  %3 = Identity(a)',
      '      2  a = Identity(%2)',
      '      3  b = Identity(%3)',
    ]);
  });
});

describe('a step that cannot be a program is refused, and the backend before is back', () => {
  const x = (scope: Scope) => scope.input('x', [2, 3], 'float32');

  test('a kernel that programs cannot hold is named, with what to do', () => {
    refused((scope) => ({ y: tf.softmax(x(scope)) })).toThrow(
      /trace 'step': the step uses TF.js's kernel 'Softmax', which programs cannot hold. Write it with Add, .* or a kernel of model\/kernels/,
    );
  });

  test('reading a tensor', () => {
    refused((scope) => {
      const y = tf.add(x(scope), 1);
      return { y: tf.scalar(y.dataSync()[0]!) };
    }).toThrow(/reads the content of 'Add:0' .*return it as an output/);
  });

  test('a tensor made outside', () => {
    const outside = tf.ones([2, 3]);
    refused((scope) => ({ y: tf.add(x(scope), outside) })).toThrow(
      /Add: a tensor made outside the step; ask the scope/,
    );
    refused(() => ({ y: outside })).toThrow(/output 'y': a tensor made outside/);
    outside.dispose();
  });

  test('one name asked for in two ways', () => {
    refused((scope) => ({ y: tf.add(x(scope), scope.input('x', [3, 2], 'float32')) })).toThrow(
      /'x' is asked for as input float32\[3,2\] of activations, and was input float32\[2,3\]/,
    );
  });

  test('operands that do not fit', () => {
    refused((scope) => ({ y: tf.add(x(scope), scope.input('column', [2, 1], 'float32')) })).toThrow(
      /Add: cannot broadcast \[2, 1\] to \[2, 3\]/,
    );
    refused((scope) => ({ y: linear(x(scope), scope.weight('w', [4, 5], 'bf16', 'weights')) })).toThrow(/Linear.*\[/);
    refused((scope) => ({ y: tf.argMax(x(scope), 0) })).toThrow(
      /ArgMax: looks along axis 0 of \[2, 3\]: programs look along the last axis/,
    );
  });

  test('core arithmetic on a weight that is not stored as float32', () => {
    refused((scope) => ({ y: tf.add(x(scope), scope.weight('w', [3], 'bf16', 'weights')) })).toThrow(
      /Add takes 'w', which is stored as bf16; .* ask the scope for float32/,
    );
  });

  test('updates of what is no state, twice, or of another shape', () => {
    refused((scope) => {
      scope.update(x(scope), tf.ones([2, 3]));
      return {};
    }).toThrow(/'x' is of role input; only states are updated/);
    refused((scope) => {
      const s = scope.state('s', [2], 'adapters');
      scope.update(s, tf.add(s, 1));
      scope.update(s, tf.add(s, 2));
      return {};
    }).toThrow(/'s' is updated twice/);
    refused((scope) => {
      scope.update(scope.state('s', [2], 'adapters'), x(scope));
      return {};
    }).toThrow(/'s' is float32\[2\], and its new value is float32\[2,3\]/);
  });

  test('a trace inside a trace, and whatever the step itself throws', () => {
    refused((scope) => {
      trace('inner', (other) => ({ y: x(other) }));
      return { y: x(scope) };
    }).toThrow("trace 'inner' is started inside another trace");
    refused(() => {
      throw new RangeError('no such layer');
    }).toThrow(new RangeError('no such layer'));
  });

  test('an output with the name of another buffer', () => {
    refused((scope) => ({ x: tf.add(x(scope), 1) })).toThrow(/output 'x' has the name of a buffer of role input/);
  });
});
