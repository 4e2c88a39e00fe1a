/** Optimizer states that lie on the host: which ones, that results do not depend on it, and what the stages say of it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { alignedBytes, byteLength } from '../compile/buffers.ts';
import { loadNative, type NativeExecutable } from '../compile/native_executable.ts';
import { optimize } from '../compile/optimize.ts';
import { statesToPage } from '../compile/paging.ts';
import { planMemory } from '../compile/plan.ts';
import { printProgram } from '../compile/print.ts';
import type { Buffer, Program } from '../compile/program.ts';
import { trace } from '../compile/trace.ts';
import { StageError } from '../engine/stage.ts';
import { writeCheckpoint } from '../model/checkpoint.ts';
import { exampleSplit, writeDataset } from '../model/dataset.ts';
import { initialWeights } from '../model/initial.ts';
import { gigabytes } from '../stages/shared/format.ts';
import { noPaging, pagingOf } from '../stages/shared/paging.ts';
import { footprint, plannedTraining, pretrainingFootprint, storedIn } from '../stages/shared/planned_training.ts';
import { type Asked, plansOf, pretrainingPlans, sayingWhatFits } from '../stages/shared/room.ts';
import train from '../stages/train.ts';
import { config } from './support/compiled.ts';
import { pagedSteps, trained } from './support/paged_steps.ts';
import { openWorkshop } from './support/stages.ts';

const state = (name: string, elements: number, group: Buffer['group'] = 'optimizer'): Buffer => ({
  name,
  shape: [elements],
  storage: 'float32',
  role: 'state',
  group,
});

describe('what is paged', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 2000 }), { maxLength: 12 });

  test('is enough, and of it nothing could be left out, or it is all that there is', () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: -1000, max: 60_000 }), (elements, wanted) => {
        const buffers = [state('w', 9999, 'adapters'), ...elements.map((n, i) => state(`m${i}`, n))];
        const program: Program = { name: 'p', buffers, calls: [], outputs: {} };
        const bytes = (index: number) => alignedBytes(byteLength(buffers[index]!));
        const chosen = [...statesToPage(program, wanted)];
        const sum = chosen.reduce((total, index) => total + bytes(index), 0);
        expect(chosen).not.toContain(0);
        if (wanted <= 0) expect(chosen).toEqual([]);
        else if (chosen.length < elements.length) {
          expect(sum).toBeGreaterThanOrEqual(wanted);
          expect(sum - Math.max(...chosen.map(bytes))).toBeLessThan(wanted);
          expect(sum - wanted).toBeLessThan(Math.max(...elements.map((_, i) => bytes(i + 1))));
        }
      }),
    );
  });

  test('takes one large state before many small ones, and the smallest that is enough at the end', () => {
    const buffers = [state('a', 16), state('b', 160), state('c', 320), state('d', 32), state('e', 64)];
    const paged = (bytes: number) =>
      [...statesToPage({ name: 'p', buffers, calls: [], outputs: {} }, bytes)].map((index) => buffers[index]!.name);
    expect(paged(1)).toEqual(['a']);
    expect(paged(1280)).toEqual(['c']);
    expect(paged(1281)).toEqual(['c', 'a']);
    expect(paged(1400)).toEqual(['c', 'a', 'd']);
    expect(paged(1e9)).toHaveLength(5);
  });

  test.each(Object.entries(pagedSteps))(
    'the plan of %s keeps its arena within any budget that this allows',
    (_, { step }) => {
      const program = optimize(trace('step', step));
      const whole = planMemory(program);
      expect(whole.paged).toEqual({ bytes: 0, buffers: [] });
      const least = whole.arenaBytes - whole.groups.optimizer;
      fc.assert(
        fc.property(fc.integer({ min: 0, max: Math.ceil(1.1 * whole.arenaBytes) }), (budget) => {
          const plan = planMemory(program, budget);
          expect(plan.arenaBytes).toBeLessThanOrEqual(Math.max(budget, least));
          expect(plan.arenaBytes + plan.paged.bytes).toBe(whole.arenaBytes);
          expect(plan.groups).toEqual({ ...whole.groups, optimizer: whole.groups.optimizer - plan.paged.bytes });
          // Each lies in its place, one after the other.
          const places = plan.paged.buffers.map((index) => [plan.offsets[index]!, program.buffers[index]!] as const);
          let end = 0;
          for (const [offset, buffer] of places.toSorted(([a], [b]) => a - b)) {
            expect(buffer).toMatchObject({ role: 'state', group: 'optimizer' });
            expect(offset).toBe(end);
            end += alignedBytes(byteLength(buffer));
          }
          expect(end).toBe(plan.paged.bytes);
          expect(planMemory(program, budget)).toEqual(plan);
        }),
        { numRuns: 40 },
      );
      expect(planMemory(program, 0).groups.optimizer).toBe(0);
    },
  );

  test('is listed with the program', () => {
    const program: Program = { name: 'p', buffers: [state('w', 3, 'adapters'), state('m', 3)], calls: [], outputs: {} };
    expect(printProgram(program, planMemory(program, 100)).split('\n')).toEqual([
      'program p: 0 calls, 2 buffers',
      'arena 64 bytes: weights 0, adapters 64, optimizer 0, activations 0',
      'paged to the host 64 bytes',
      '  state     w  float32[3]  @0 +12',
      '  state     m  float32[3]  @host 0 +12',
    ]);
  });
});

describe('on the native runtime', () => {
  const nothing: Program = { name: 'nothing', buffers: [], calls: [], outputs: {} };
  const native = loadNative(nothing, planMemory(nothing), 1);
  if ('unavailable' in native) console.warn(`paged programs are not run: ${native.unavailable}`);
  const onNative = 'unavailable' in native ? test.skip : test;

  onNative.each(
    Object.entries(pagedSteps).flatMap(([name, each]) =>
      // Joined as for a GPU, the optimizer is one call.
      ([{}, { gpu: 'float32' }] as const).map((target) => [name, JSON.stringify(target), each, target] as const),
    ),
  )('%s comes out the same to the bit, whatever is paged (%s)', (_, __, { step, content }, target) => {
    const program = optimize(trace('step', step), target);
    const open = (budget?: number) => {
      const executable = loadNative(program, planMemory(program, budget), 2) as NativeExecutable;
      expect([executable.arenaBytes, executable.pagedBytes]).toEqual([
        executable.plan.arenaBytes,
        executable.plan.paged.bytes,
      ]);
      return executable;
    };
    const whole = open();
    const { arenaBytes, groups } = whole.plan;
    const expected = trained(whole, content, 3);
    whole.dispose();
    for (const budget of [arenaBytes - groups.optimizer / 2, 0]) {
      const paged = open(budget);
      expect(paged.pagedBytes).toBeGreaterThan(0);
      expect(paged.highWaterBytes).toBeLessThanOrEqual(paged.arenaBytes);
      expect(trained(paged, content, 3)).toEqual(expected);
      paged.dispose();
    }
  });
});

/** A training of adapters on a model of some megabytes, for a GPU, by the plan alone. */
const planned: Asked = {
  training: {
    config: { vocabSize: 512, contextLength: 128, width: 256, layers: 4, heads: 4, epsilon: 1e-5 },
    matrices: storedIn('bf16'),
    targets: ['q', 'k', 'v', 'o', 'fc', 'proj'],
    rank: 32,
    batch: 2,
    length: 32,
  },
  rematerialize: 'none',
  quantized: false,
  device: 'cuda',
  paging: noPaging,
};
const whole = footprint(planned.training, { gpu: 'bf16' });

describe('a budget of memory', () => {
  /** What the record says, and the budget of the training program's arena. */
  async function loaded(asked: Asked) {
    const measured: (string | number)[] = [];
    const host = { measure: (_: string, value: string | number) => measured.push(value) };
    const budget = await sayingWhatFits(plansOf(asked), host, async (arena) => arena);
    return { budget, measured };
  }

  test('pages what it needs, and says so in the record', async () => {
    const budget = whole.total - Math.round(whole.optimizer / 2);
    const { budget: arena, measured } = await loaded({ ...planned, paging: { ...noPaging, budget } });
    expect(arena).toBe(budget - whole.heldOut);
    const { total, paged } = plannedTraining(planned.training, { gpu: 'bf16' }, arena);
    expect(total + whole.heldOut).toBeLessThanOrEqual(budget);
    expect(paged).toBeGreaterThanOrEqual(whole.optimizer / 2);
    expect(measured).toEqual([
      `${gigabytes(paged)} of ${gigabytes(whole.optimizer)} GB of the optimizer's moments are paged to the host: train takes ${gigabytes(total + whole.heldOut)} GB of the budget of ${gigabytes(budget)} GB`,
    ]);
  });

  test('that is enough pages nothing, and says so; without one nothing is said', async () => {
    const { budget: arena, measured } = await loaded({ ...planned, paging: { ...noPaging, budget: 8e9 } });
    expect(plannedTraining(planned.training, { gpu: 'bf16' }, arena).paged).toBe(0);
    expect(measured).toEqual([
      `no paging was needed: train takes ${gigabytes(whole.total)} GB of the budget of 8.00 GB`,
    ]);
    expect(await loaded(planned)).toEqual({ budget: Number.POSITIVE_INFINITY, measured: [] });
    const all = await loaded({ ...planned, paging: { ...noPaging, moments: 'all' } });
    expect(all.budget).toBe(0);
    expect(all.measured).toEqual([
      `${gigabytes(whole.optimizer)} of ${gigabytes(whole.optimizer)} GB of the optimizer's moments are paged to the host: train takes ${gigabytes(whole.total - whole.optimizer)} GB`,
    ]);
  });

  test('that is too small even with everything paged is refused with what would fit, to the byte', async () => {
    const budget = Math.floor(0.97 * (whole.total - whole.optimizer));
    const asked = { ...planned, paging: { ...noPaging, budget } };
    const error = await loaded(asked).then(
      () => expect.fail('it was loaded'),
      (thrown) => thrown as Error,
    );
    expect(error).toBeInstanceOf(StageError);
    const [limit, takes, , ...settings] = error.message.split('\n');
    expect(limit).toBe(`memory_budget gives train ${gigabytes(budget)} GB`);
    expect(takes).toContain(`; ${gigabytes(whole.optimizer)} GB of the optimizer's moments are paged to the host`);
    expect(settings.join()).toMatch(/rank: (\d+) /);
    const rank = Number(/rank: (\d+) /.exec(settings.join())![1]);
    const takesWith = (rank: number) => footprint({ ...planned.training, rank }, { gpu: 'bf16' }, asked.paging).total;
    expect(takesWith(rank)).toBeLessThanOrEqual(budget);
    expect(takesWith(rank + 1)).toBeGreaterThan(budget);
    // What is paged already is not offered.
    expect(settings.join()).not.toContain('paged_optimizer');
  });

  test('and paging are offered where memory is short and they would help', () => {
    const free = whole.total - 1;
    const paged = `${gigabytes(whole.total - whole.optimizer)}`;
    const settings = (asked: Asked) =>
      plansOf(asked)
        .fitting(free)
        .map(({ setting, bytes }) => `${setting} (${gigabytes(bytes)})`);
    expect(settings(planned)).toContain(`paged_optimizer: all (${paged})`);
    expect(settings({ ...planned, device: 'cpu' }).join()).not.toContain('paged');

    const sizes = { config: planned.training.config, batch: 2, length: 32 };
    const full = pretrainingFootprint(sizes, 'bf16');
    // A third of what training a whole model takes are its moments.
    expect(full.optimizer / full.total).toBeGreaterThan(0.3);
    const fitting = (free: number) =>
      pretrainingPlans(sizes, 'bf16', noPaging)
        .fitting(free)
        .map(({ setting }) => setting);
    expect(fitting(full.total - full.optimizer)).toEqual(['paged_optimizer: all']);
    expect(fitting(full.total - full.optimizer - 1)).toEqual(['paged_optimizer: all, batch: 1']);
  });

  test('is a size', () => {
    const budget = (text: string) => pagingOf({ memory_budget: text, paged_optimizer: 'needed' }).budget;
    expect([budget(''), budget('8GB'), budget('1.5 GiB'), budget('123456')]).toEqual([
      Number.POSITIVE_INFINITY,
      8e9,
      1.5 * 2 ** 30,
      123456,
    ]);
    for (const wrong of ['much', '0GB', '-1GB'])
      expect(() => budget(wrong)).toThrow(`memory_budget '${wrong}' is not a size`);
  });
});

test('train writes the same adapter with all of its moments paged, and says what was paged', async () => {
  const workshop = openWorkshop();
  onTestFinished(workshop.remove);
  const [base, data] = ['base', 'data'].map((name) => join(workshop.folder, name)) as [string, string];
  writeCheckpoint(base, { config, weights: initialWeights(config, 1) }, 'BF16');
  const example = { tokens: Int32Array.from({ length: 12 }, (_, i) => (i * 31) % config.vocabSize), promptLength: 5 };
  const split = exampleSplit(Array.from({ length: 10 }, () => example));
  const meta = { vocabSize: config.vocabSize, endOfText: 0, maxLength: 12, seed: 0, dropped: 0, truncated: 0 };
  writeDataset(data, { meta, splits: { train: split, validation: split } });
  const run = async (how: Readonly<Record<string, string>>) => {
    const params = { batch: 2, rank: 4, steps: 3, eval_examples: 2, warmup: 0, ...how };
    const { outputs, measurements } = await workshop.run(train, { params, inputs: { base, data } });
    const adapter = readFileSync(join(outputs.adapter!, 'adapter_model.safetensors'));
    const { memory } = JSON.parse(readFileSync(outputs.summary!, 'utf8'));
    return { adapter, curve: readFileSync(outputs.curve!, 'utf8'), memory, measurements };
  };
  const plain = await run({});
  const paged = await run({ paged_optimizer: 'all' });
  expect(paged.adapter.equals(plain.adapter)).toBe(true);
  expect(paged.curve).toBe(plain.curve);
  const { optimizer, total } = plain.memory;
  expect(paged.memory).toEqual({ ...plain.memory, optimizer: 0, total: total - optimizer, paged: optimizer });
  expect(paged.measurements).toMatchObject({
    paging: expect.stringContaining("of the optimizer's moments are paged to the host: train takes"),
    'LoRA training step: planned bytes of optimizer paged to the host': optimizer,
  });
  const within = await run({ memory_budget: '1GB' });
  expect(within.adapter.equals(plain.adapter)).toBe(true);
  expect(within.memory).toEqual(plain.memory);
  expect(within.measurements.paging).toMatch(/^no paging was needed: train takes 0\.\d+ GB of the budget of 1\.00 GB$/);
  await expect(run({ memory_budget: '600kB' })).rejects.toThrow('memory_budget gives train 0.001 GB');
});
