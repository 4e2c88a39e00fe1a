/** A program that does not fit is refused before anything is allocated; a training says which settings would fit, by the plan to the byte. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, onTestFinished, test, vi } from 'vitest';
import { availableMemory, OutOfMemory } from '../compile/available_memory.ts';
import { load } from '../compile/executable.ts';
import { plannedPeak } from '../compile/memory.ts';
import { trace } from '../compile/trace.ts';
import { StageError } from '../engine/stage.ts';
import { writeCheckpoint } from '../model/checkpoint.ts';
import type { Gpt2Config } from '../model/config.ts';
import { exampleSplit, writeDataset, writeTextDataset } from '../model/dataset.ts';
import { initialWeights } from '../model/initial.ts';
import { loraTrainingStep, lossStep, pretrainingStep } from '../model/steps.ts';
import pretrain from '../stages/pretrain.ts';
import { gigabytes } from '../stages/shared/format.ts';
import { noPaging, type Paging } from '../stages/shared/paging.ts';
import { storedIn } from '../stages/shared/planned_training.ts';
import { type Asked, settingsThatFit } from '../stages/shared/room.ts';
import train from '../stages/train.ts';
import { openWorkshop } from './support/stages.ts';

const config: Gpt2Config = { vocabSize: 512, contextLength: 128, width: 64, layers: 2, heads: 4, epsilon: 1e-5 };
const families = ['q', 'v', 'fc'] as const;

/** Leaves this process so many bytes more than it has, as the limit of a container would. */
function leave(bytes: number): void {
  const spy = vi.spyOn(process, 'constrainedMemory').mockReturnValue(process.memoryUsage.rss() + bytes);
  onTestFinished(() => spy.mockRestore());
}

/** What train's two programs take of the device, planned here from their steps. */
function taken({ training, rematerialize, device, paging }: Asked): number {
  const { rank, targets, dropout = 0, ...sizes } = training;
  const lora = { rank, alpha: 1, targets };
  const adamw = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0, maxNorm: 1 };
  const gpu = device === 'cuda' ? { gpu: 'bf16' as const } : {};
  const step = loraTrainingStep({ ...sizes, lora, adamw, dropout: { rate: dropout, seed: 1 } });
  const trains = plannedPeak('train', step, { rematerialize, ...gpu });
  const moments = device === 'cuda' && paging.moments === 'all' ? trains.optimizer : 0;
  return trains.total - moments + plannedPeak('loss', lossStep({ ...sizes, lora }), gpu).total;
}

/** What was asked for with settings in place, read back from the words. */
function withSetting(asked: Asked, words: string): Asked {
  let { training, rematerialize, quantized, paging } = asked;
  for (const setting of words.split(', ')) {
    const [name, value] = setting.split(': ');
    if (name === 'rematerialize') rematerialize = 'block';
    else if (name === 'paged_optimizer') paging = { ...paging, moments: 'all' };
    else if (name === 'batch') training = { ...training, batch: Number(value) };
    else if (name === 'rank') training = { ...training, rank: Number(value) };
    else if (name === 'targets')
      training = { ...training, targets: families.filter((each) => value!.split('+').includes(each)) };
    else {
      expect(setting).toBe('a base in precision nf4');
      quantized = true;
      training = { ...training, matrices: storedIn('nf4') };
    }
  }
  return { ...asked, training, rematerialize, quantized, paging };
}

test('every setting that is named fits, to the byte, and one sequence or rank more would not', () => {
  const training = { config, targets: families, rank: 6, batch: 5, length: 40, dropout: 0.1 };
  fc.assert(
    fc.property(
      fc.record({
        device: fc.constantFrom('cpu' as const, 'cuda' as const),
        quantized: fc.boolean(),
        rematerialize: fc.constantFrom('none' as const, 'block' as const),
        paging: fc.constantFrom<Paging>(noPaging, { ...noPaging, moments: 'all' }),
        share: fc.double({ min: 0.1, max: 0.999, noNaN: true }),
      }),
      ({ share, ...how }) => {
        const asked: Asked = { ...how, training: { ...training, matrices: storedIn(how.quantized ? 'nf4' : 'bf16') } };
        const free = Math.floor(share * taken(asked));
        const fitting = settingsThatFit(asked, free);
        for (const { setting, bytes } of fitting) {
          expect(taken(withSetting(asked, setting)), setting).toBe(bytes);
          expect(bytes).toBeLessThanOrEqual(free);
          const [, name, value] = /(batch|rank): (\d+)$/.exec(setting) ?? [];
          if (name === undefined || Number(value) === training[name as 'batch' | 'rank']) continue;
          const more = setting.replace(/\d+$/, String(Number(value) + 1));
          expect(taken(withSetting(asked, more)), more).toBeGreaterThan(free);
        }
        // What is not named does not fit either.
        const named = new Set(fitting.map(({ setting }) => setting.split(':')[0]));
        const least = [
          'batch: 1',
          'rank: 1',
          'targets: q',
          ...(how.rematerialize === 'none' ? ['rematerialize: block'] : []),
          ...(how.device === 'cuda' && how.paging.moments === 'needed' ? ['paged_optimizer: all'] : []),
        ];
        for (const setting of fitting.some((each) => each.setting.includes(',')) ? [] : least) {
          if (!named.has(setting.split(':')[0]))
            expect(taken(withSetting(asked, setting)), setting).toBeGreaterThan(free);
        }
      },
    ),
    { numRuns: 8 },
  );
});

test('a program that the machine has no room for is refused, and one that it has room for runs', async () => {
  const program = trace('loss', lossStep({ config, matrices: storedIn('bf16'), batch: 64, length: 128 }));
  const before = availableMemory('cpu')!;
  leave(8e6);
  const refused = await load(program, { device: 'cpu-native' }).then(
    () => expect.fail('it was loaded'),
    (error) => error,
  );
  expect(refused).toBeInstanceOf(OutOfMemory);
  const { needed, memory } = refused as OutOfMemory;
  expect(needed).toBe(
    plannedPeak('loss', lossStep({ config, matrices: storedIn('bf16'), batch: 64, length: 128 })).total,
  );
  expect(memory.free).toBeLessThan(needed);
  expect(memory.total).toBeLessThan(before.total);
  vi.restoreAllMocks();
  const executable = await load(program, { device: 'cpu-native' });
  expect(executable.plan.arenaBytes).toBe(needed);
  executable.dispose();
});

test('train says what it needs, what there is, and what would fit; what it names runs', async () => {
  const workshop = openWorkshop();
  onTestFinished(workshop.remove);
  const [base, data] = ['base', 'data'].map((name) => join(workshop.folder, name)) as [string, string];
  const weights = new Map(
    [...initialWeights(config, 1)].map(([name, dense]) => [name, { ...dense, kind: 'dense' as const }]),
  );
  writeCheckpoint(base, { config, weights }, 'BF16');
  const example = { tokens: Int32Array.from({ length: 97 }, (_, i) => (i * 31) % config.vocabSize), promptLength: 60 };
  const split = exampleSplit(Array.from({ length: 70 }, () => example));
  const meta = { vocabSize: config.vocabSize, endOfText: 0, maxLength: 96, seed: 0, dropped: 0, truncated: 0 };
  writeDataset(data, { meta, splits: { train: split, validation: split } });
  const run = (batch: number) =>
    workshop.run(train, {
      params: { batch, rank: 4, targets: 'q+v+fc', steps: 1, eval_every: 1, eval_examples: 2, warmup: 0 },
      inputs: { base, data },
    });

  const training = { config, matrices: storedIn('bf16'), targets: families, rank: 4, batch: 64, length: 96 };
  const asked: Asked = { training, rematerialize: 'none', quantized: false, device: 'cpu', paging: noPaging };
  leave(0.6 * taken(asked));
  const error = await run(64).then(
    () => expect.fail('it ran'),
    (thrown) => thrown as Error,
  );
  expect(error).toBeInstanceOf(StageError);
  const [first, total, , ...settings] = error.message.split('\n');
  expect(first).toMatch(/^the LoRA training step needs 0\.\d{3} GB \(planned\), and 0\.\d{3} of \d+\.\d+ GB are free$/);
  expect(total).toContain(`train takes ${gigabytes(taken(asked))} GB: `);
  expect(settings.length).toBeGreaterThan(0);
  for (const line of settings) {
    const [, setting, size] = /^ {2}(.*) \((.*) GB\)$/.exec(line)!;
    expect(size).toBe(gigabytes(taken(withSetting(asked, setting!))));
  }
  const batch = Number(/ batch: (\d+)/.exec(error.message)![1]);
  // Half of it: what JavaScript and the files take besides is not planned.
  const { outputs } = await run(Math.floor(batch / 2));
  expect(JSON.parse(readFileSync(outputs.summary!, 'utf8'))).toMatchObject({ rows: Math.floor(batch / 2) });
});

test('pretrain says the same of its batch and of the length of its sequences', async () => {
  const workshop = openWorkshop();
  onTestFinished(workshop.remove);
  const [data, tokenizer] = ['text', 'tokenizer'].map((name) => join(workshop.folder, name)) as [string, string];
  const text = {
    kind: 'text' as const,
    tokens: Int32Array.from({ length: 9000 }, (_, i) => (i * 31) % config.vocabSize),
  };
  const meta = { vocabSize: config.vocabSize, endOfText: 0, maxLength: 0, seed: 0, dropped: 0, truncated: 0 };
  writeTextDataset(data, { meta, splits: { train: text, validation: text } });
  const taken = (batch: number, length: number) => {
    const adamw = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0, maxNorm: 1 };
    const training = plannedPeak('pretrain', pretrainingStep({ config, batch, length, adamw })).total;
    return training + plannedPeak('loss', lossStep({ config, batch, length, matrices: storedIn('bf16') })).total;
  };
  const { layers, width, heads, contextLength: context } = config;
  leave(0.6 * taken(48, 128));
  const error = await workshop
    .run(pretrain, {
      params: { layers, width, heads, context, batch: 48, length: 128, steps: 1, warmup: 0 },
      inputs: { data, tokenizer },
    })
    .then(
      () => expect.fail('it ran'),
      (thrown) => thrown as Error,
    );
  expect(error).toBeInstanceOf(StageError);
  const [, , , batches, lengths, ...none] = error.message.split('\n');
  const [, batch, ofBatch] = /^ {2}batch: (\d+) \((.*) GB\)$/.exec(batches!)!;
  const [, length, ofLength] = /^ {2}length: (\d+) \((.*) GB\)$/.exec(lengths!)!;
  expect([ofBatch, ofLength]).toEqual([taken(Number(batch), 128), taken(48, Number(length))].map(gigabytes));
  expect(none).toEqual([]);
});
