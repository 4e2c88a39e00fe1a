/** A tiny LoRA training step: the native runtime against the same program on TensorFlow.js. */
import { availableParallelism } from 'node:os';
import { type Device, load } from '../compile/executable.ts';
import type { Executable, Program } from '../compile/program.ts';
import { trace } from '../compile/trace.ts';
import type { Gpt2Config } from '../model/config.ts';
import { initialWeights } from '../model/initial.ts';
import { initialAdapters, type LoraConfig } from '../model/lora.ts';
import { Random } from '../model/random.ts';
import { loraTrainingStep } from '../model/steps.ts';
import { loadAddon } from '../native/addon.ts';
import { type Figure, type Skipped, type Subject, sampleOf, secondsOf, takeTurns } from './figure.ts';

const config: Gpt2Config = { vocabSize: 2048, contextLength: 128, width: 128, layers: 4, heads: 4, epsilon: 1e-5 };
const lora: LoraConfig = { rank: 8, alpha: 16, targets: ['q', 'v'] };
const batch = 8;
const length = 128;
const adamw = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01, maxNorm: 1 };
const seed = 1;

/** Losses of one step on different backends may differ by rounding, relatively this much. */
const tolerance = 1e-4;

export const loraStep: Subject = { name: 'lora-step', measure };

async function measure(rounds: number): Promise<(Figure | Skipped)[]> {
  const what = 'LoRA step, native';
  const addon = loadAddon();
  if ('unavailable' in addon) return [{ what, skipped: addon.unavailable }];

  const step = { config, lora, batch, length, adamw, dropout: { rate: 0, seed } };
  const program = trace(
    'LoRA step',
    loraTrainingStep({ ...step, matrices: () => ({ kind: 'dense', storage: 'bf16' }) }),
  );
  const wasm = await open(program, 'tfjs-wasm');
  const cpu = await open(program, 'tfjs-cpu');
  const threadCounts = [1, 2].filter((threads) => threads <= availableParallelism());
  const natives = await Promise.all(threadCounts.map((threads) => open(program, 'cpu-native', threads)));

  // First steps warm up, and show that all compute the same.
  const losses = [...natives, wasm, cpu].map((executable) => ({ backend: executable.backend, loss: run(executable) }));
  refuseDifference(losses);
  for (const executable of [...natives, wasm]) run(executable);

  const turns = {
    wasm: () => run(wasm),
    ...Object.fromEntries(natives.map((native, i) => [`${i}`, () => run(native)])),
  };
  const seconds: Record<string, number[]> = await takeTurns(rounds, turns);
  // One step of it takes as long as a hundred of ours.
  const cpuSeconds = [await secondsOf(() => run(cpu))];
  for (const executable of [...natives, wasm, cpu]) executable.dispose();

  const named = (i: number) => `${what}, ${threadCounts[i] === 1 ? '1 thread' : `${threadCounts[i]} threads`}`;
  const against = { what: 'TF.js wasm', sample: sampleOf(seconds.wasm!) };
  const figures = natives.map((_, i): Figure => {
    return { what: named(i), unit: 's', measured: sampleOf(seconds[i]!), against, bar: { ratio: 10 } };
  });
  return [...figures, { ...figures[0]!, against: { what: 'TF.js cpu', sample: sampleOf(cpuSeconds) }, bar: undefined }];
}

/** Loads the program with a fresh model, fresh adapters and one batch of random tokens. */
async function open(program: Program, device: Device, threads = 1): Promise<Executable> {
  const executable = await load(program, { device, threads });
  for (const [name, { data }] of initialWeights(config, seed)) executable.write(name, data);
  for (const [name, data] of initialAdapters(config, lora, seed)) executable.write(name, data);
  const random = new Random(seed, 'text');
  const tokens = Int32Array.from({ length: batch * length }, () => random.integer(config.vocabSize));
  executable.write('tokens', tokens);
  executable.write(
    'positions',
    tokens.map((_, i) => i % length),
  );
  executable.write(
    'targets',
    tokens.map((_, i) => tokens[(i + 1) % tokens.length]!),
  );
  executable.write('hyper', Float32Array.of(1e-3, 1));
  return executable;
}

/** One step, and its loss. */
function run(executable: Executable): number {
  executable.run();
  return executable.read('loss')[0]!;
}

function refuseDifference(losses: readonly { readonly backend: string; readonly loss: number }[]): void {
  const [first, ...others] = losses;
  for (const { backend, loss } of others) {
    if (Math.abs(loss - first!.loss) <= tolerance * Math.abs(first!.loss)) continue;
    throw new Error(`the first step's loss is ${first!.loss} on ${first!.backend} and ${loss} on ${backend}`);
  }
}
