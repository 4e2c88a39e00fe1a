/** Optimizer states in pinned memory of the host: the same bits on a GPU, the arena as much smaller, and everything given back. */
import { expect, test } from 'vitest';
import { type CudaExecutable, loadCuda } from '../../compile/native_executable.ts';
import { optimize } from '../../compile/optimize.ts';
import { planMemory } from '../../compile/plan.ts';
import type { Program } from '../../compile/program.ts';
import { trace } from '../../compile/trace.ts';
import { tf } from '../../model/tf.ts';
import { addon } from '../native/case.ts';
import { statesOf } from '../support/compiled.ts';
import { pagedSteps, trained } from '../support/paged_steps.ts';
import { onGpu } from './device.ts';

function open(program: Program, budget?: number): CudaExecutable {
  const executable = loadCuda(program, planMemory(program, budget), 'bf16');
  if ('unavailable' in executable) throw new Error(executable.unavailable);
  return executable;
}

onGpu.each(Object.entries(pagedSteps))('%s', (_, { step, content }) => {
  const program = optimize(trace('step', step), { gpu: 'bf16' });

  test('comes out the same to the bit with none, some and all of its moments on the host', () => {
    const whole = open(program);
    expect(whole.pagedBytes).toBe(0);
    const { arenaBytes, groups } = whole.plan;
    const expected = trained(whole, content, 20);
    whole.dispose();
    for (const budget of [arenaBytes - groups.optimizer / 2, 0]) {
      const paged = open(program, budget);
      expect(paged.pagedBytes).toBe(paged.plan.paged.bytes);
      expect(paged.pagedBytes).toBeGreaterThanOrEqual(groups.optimizer / 2);
      expect(paged.arenaBytes + paged.pagedBytes).toBe(arenaBytes);
      expect(trained(paged, content, 20)).toEqual(expected);
      paged.dispose();
    }
  });

  test('begins with moments of zero, and keeps what is written to them', () => {
    const executable = open(program, 0);
    const names = statesOf(executable).filter((name) => /\.(mean|variance)$/.test(name));
    for (const name of names) {
      const zeros = executable.read(name);
      expect(
        zeros.every((value) => value === 0),
        name,
      ).toBe(true);
      const values = Float32Array.from(zeros, (_, i) => i / 7);
      executable.write(name, values);
      expect(executable.read(name), name).toEqual(values);
    }
    executable.dispose();
  });
});

onGpu('what is paged', () => {
  /** A state of 64 MiB of the optimizer's, to which a run adds one number, and nothing else. */
  const elements = 2 ** 24;
  const program = optimize(
    trace('add', (scope) => {
      const state = scope.state('state', [elements], 'optimizer');
      scope.update(state, tf.add(state, scope.input('x', [1], 'float32')));
      return {};
    }),
    { gpu: 'float32' },
  );

  test('takes nothing of the GPU, and is given back', () => {
    // The first pinned memory of a process may bring some of the driver's own with it.
    open(program, 0).dispose();
    const device = () => addon().cudaMemory().free;
    const host = () => process.memoryUsage.rss();
    const values = new Float32Array(elements).fill(1.5);
    const [freeBefore, usedBefore] = [device(), host()];
    for (let i = 0; i < 20; i++) {
      const executable = open(program, 0);
      expect([executable.arenaBytes, executable.pagedBytes]).toEqual([64, 4 * elements]);
      executable.write('x', Float32Array.of(2));
      executable.write('state', values);
      expect(freeBefore - device()).toBeLessThan(2 * elements);
      executable.run();
      // What is read is a new array each time, which the collector may be slow to take.
      if (i === 0) expect(executable.read('state')[elements - 1]).toBe(3.5);
      executable.dispose();
    }
    expect(freeBefore - device()).toBeLessThan(2 ** 22);
    // Of 20 x 64 MiB.
    expect(host() - usedBefore).toBeLessThan(400 * 2 ** 20);
  });
});
