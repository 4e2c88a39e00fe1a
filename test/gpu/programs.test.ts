/** Whole programs on the GPU: training, pretraining and decoding steps against the CPU's. */
import { expect, test } from 'vitest';
import { type Device, load } from '../../compile/executable.ts';
import type { HostData } from '../../compile/host_access.ts';
import type { Executable, Program } from '../../compile/program.ts';
import { trace } from '../../compile/trace.ts';
import type { Matrix } from '../../model/matrix.ts';
import { decodeStep, loraTrainingStep, pretrainingStep } from '../../model/steps.ts';
import type { Precision } from '../../native/addon.ts';
import {
  adamw,
  bases,
  config,
  contents,
  everywhere,
  lora,
  runStep,
  shape,
  statesOf,
  writeContents,
} from '../support/compiled.ts';
import { relativeError } from '../support/float64.ts';
import { likeliestOf, logitsStep } from '../support/logits_step.ts';
import { toyWeights } from '../support/toy.ts';
import { onGpu } from './device.ts';

const steps = 20;
const matrices: Readonly<Record<string, Matrix>> = { float32: { kind: 'dense', storage: 'float32' }, ...bases };

interface Trained {
  readonly losses: number[];
  readonly norms: number[];
  readonly states: ReadonlyMap<string, HostData>;
}

/** Trains for 20 steps, the learning rate as in a real run. */
async function train(
  program: Program,
  all: ReadonlyMap<string, HostData>,
  device: Device,
  precision?: Precision,
): Promise<Trained> {
  const executable = await load(program, { device, threads: 2, ...(precision === undefined ? {} : { precision }) });
  writeContents(executable, all);
  const [losses, norms]: number[][] = [[], []];
  for (let step = 1; step <= steps; step++) {
    runStep(executable, step);
    losses!.push(executable.read('loss')[0]!);
    norms!.push(executable.read('norm')[0]!);
  }
  const states = new Map(statesOf(executable).map((name) => [name, executable.read(name)]));
  executable.dispose();
  return { losses: losses!, norms: norms!, states };
}

onGpu.each(Object.entries(matrices))('LoRA on a base of %s', (_, matrix) => {
  const program = trace(
    'lora',
    loraTrainingStep({ ...shape, config, lora, adamw, matrices: everywhere(matrix), dropout: { rate: 0.1, seed: 7 } }),
  );
  const all = contents(matrix);

  test('has the CPU’s losses over 20 steps, in float32', async () => {
    const [gpu, cpu] = [await train(program, all, 'cuda', 'float32'), await train(program, all, 'cpu-native')];
    expect(relativeError(gpu.losses, cpu.losses)).toBeLessThanOrEqual(1e-4);
    expect(relativeError(gpu.norms, cpu.norms)).toBeLessThanOrEqual(1e-3);
    expect(cpu.losses.at(-1)).toBeLessThan(cpu.losses[0]!);
  });

  test('has them within 2% in the precision that its weights ask for', async () => {
    const [gpu, cpu] = [await train(program, all, 'cuda'), await train(program, all, 'cpu-native')];
    expect(relativeError(gpu.losses, cpu.losses)).toBeLessThanOrEqual(2e-2);
  });

  test('gives the same bits for the same seed, twice', async () => {
    const [first, second] = [await train(program, all, 'cuda'), await train(program, all, 'cuda')];
    expect(second).toEqual(first);
  });
});

onGpu('on a GPU', () => {
  test('pretraining has the CPU’s losses over 20 steps, in float32', async () => {
    const program = trace('pretrain', pretrainingStep({ ...shape, config, adamw: { ...adamw, maxNorm: 1 } }));
    const all = contents(bases.bf16);
    for (const [name, values] of toyWeights(config))
      all.set(
        name,
        values.map((v) => (name.includes('ln_') ? v : v / 2)),
      );
    const [gpu, cpu] = [await train(program, all, 'cuda'), await train(program, all, 'cpu-native')];
    expect(relativeError(gpu.losses, cpu.losses)).toBeLessThanOrEqual(1e-4);
    expect(await train(program, all, 'cuda')).toEqual(gpu);
  });

  test.each([
    ['float32', 1e-4],
    ['bf16', 2e-2],
  ] as const)('decoding token by token gives the logits of the whole text, in %s', async (precision, tolerance) => {
    const matrix = bases['nf4, doubly'];
    const all = contents(matrix);
    const frozen = { config, lora, matrices: everywhere(matrix) };
    const whole = await load(trace('logits', logitsStep({ ...frozen, ...shape })), { device: 'cuda', precision });
    writeContents(whole, all);
    whole.run();
    const logits = whole.read('logits');
    const decoding = await load(trace('decode', decodeStep({ ...frozen, batch: shape.batch, capacity: 12 })), {
      device: 'cuda',
      precision,
    });
    expect(worst(decoding, all, logits)).toBeLessThanOrEqual(tolerance);
    whole.dispose();
    decoding.dispose();
  });

  test('`auto` stays on the CPU: only who asks for the GPU can say so in a key', async () => {
    const executable = await load(trace('copy', (scope) => ({ y: scope.input('x', [1], 'float32') })));
    expect(executable.backend).toBe('cpu-native');
    executable.dispose();
  });
});

/** Feeds the text token by token. @returns the largest relative error of any position's logits. */
function worst(decoding: Executable, all: Map<string, HostData>, logits: HostData): number {
  const tokens = all.get('tokens')!;
  const weights = new Map([...all].filter(([name]) => name !== 'tokens' && name !== 'positions'));
  writeContents(decoding, weights);
  const V = config.vocabSize;
  let largest = 0;
  for (let t = 0; t < shape.length; t++) {
    const rows = Array.from({ length: shape.batch }, (_, b) => b * shape.length + t);
    decoding.write(
      'tokens',
      Int32Array.from(rows, (row) => tokens[row]!),
    );
    decoding.write('positions', new Int32Array(shape.batch).fill(t));
    decoding.run();
    const expected = rows.flatMap((row) => [...logits.subarray(row * V, (row + 1) * V)]);
    largest = Math.max(largest, relativeError(decoding.read('logits'), expected));
    expect(decoding.read('likeliest')).toEqual(likeliestOf(decoding.read('logits'), V));
  }
  return largest;
}
