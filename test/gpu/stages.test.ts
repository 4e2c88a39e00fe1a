/** What a stage's record says of the GPU that its programs run on. */
import { expect, test } from 'vitest';
import { OutOfMemory } from '../../compile/available_memory.ts';
import { load } from '../../compile/executable.ts';
import { openGpu } from '../../compile/gpu.ts';
import { peakMemory } from '../../compile/memory.ts';
import { trace } from '../../compile/trace.ts';
import { lossStep } from '../../model/steps.ts';
import { type Host, loadStep } from '../../stages/shared/executables.ts';
import { bases, config, everywhere, shape } from '../support/compiled.ts';
import { logitsStep } from '../support/logits_step.ts';
import { onGpu } from './device.ts';

onGpu('a task on a GPU', () => {
  test('measures what it ran on, what was planned, and what the driver sees', async () => {
    const measured: Record<string, number | string> = {};
    const host: Host = {
      cpus: 1,
      device: 'cuda',
      warn: (message) => expect.fail(message),
      measure: (name, value) => {
        measured[name] = value;
      },
    };
    const step = logitsStep({ ...shape, config, matrices: everywhere(bases.bf16) });
    const program = await loadStep('step', step, host);
    const { total, ...groups } = peakMemory(program.plan);
    expect(measured).toMatchObject({ backend: 'cuda', 'step: planned bytes': total });
    for (const [group, bytes] of Object.entries(groups))
      expect(measured[`step: planned bytes of ${group}`]).toBe(bytes);
    expect(measured.GPU).toBe((openGpu() as { readonly name: string }).name);
    // The driver hands out memory in pages of its own; none of a context is below some ten megabytes.
    expect(measured['GPU bytes in use before']).toBeGreaterThan(10e6);
    expect(measured['step: workspace bytes']).toBeGreaterThanOrEqual(0);
    expect(measured['GPU bytes in use']).toBeGreaterThanOrEqual(measured['GPU bytes in use before'] as number);
    program.dispose();
  });

  test('refuses a program that the GPU has no room for, by its plan', async () => {
    const step = lossStep({ config, matrices: everywhere(bases.bf16), batch: 2 ** 20, length: 128 });
    await expect(load(trace('loss', step), { device: 'cuda' })).rejects.toBeInstanceOf(OutOfMemory);
  });
});
