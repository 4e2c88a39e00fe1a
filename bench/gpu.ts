/** Training steps of GPT-2 Medium on a GPU: time by events, memory planned and as the driver sees it, and what each kernel takes. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoadOptions } from '../compile/executable.ts';
import { type CudaExecutable, loadCuda } from '../compile/native_executable.ts';
import { optimize } from '../compile/optimize.ts';
import { planMemory } from '../compile/plan.ts';
import type { Program } from '../compile/program.ts';
import { trace } from '../compile/trace.ts';
import { publishedConfigs } from '../model/config.ts';
import type { Family } from '../model/gpt2.ts';
import { nf4Dequantize } from '../model/kernels/nf4_matmul.ts';
import type { Matrix } from '../model/matrix.ts';
import type { Step } from '../model/scope.ts';
import { decodeStep, loraTrainingStep, pretrainingStep, quantizationStep } from '../model/steps.ts';
import { type Addon, loadAddon } from '../native/addon.ts';

const config = publishedConfigs['gpt2-medium'];
const shape = { batch: 4, length: 512 };
const adamw = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, maxNorm: 1 };
const bf16: Matrix = { kind: 'dense', storage: 'bf16' };
const nf4: Matrix = { kind: 'nf4', block: 64, doubleQuantization: true };
const attention: readonly Family[] = ['q', 'k', 'v'];
const everything: readonly Family[] = ['q', 'k', 'v', 'o', 'fc', 'proj'];

/** How a program is made ready, and within which arena. */
type How = Pick<LoadOptions, 'rematerialize' | 'budget'>;
const allPaged: How = { budget: 0 };

interface Measured {
  readonly what: string;
  readonly ms: number;
  /** From tracing to the end of the first step. */
  readonly firstStepSeconds: number;
  readonly plannedBytes: number;
  /** Of the optimizer's moments, on the host. */
  readonly pagedBytes: number;
  readonly workspaceBytes: number;
  /** What the driver lost while the program was loaded. */
  readonly driverBytes: number;
  readonly loss: number | undefined;
  /** Milliseconds by kernel, of one run call by call, largest first. */
  readonly kernels: readonly (readonly [kernel: string, calls: number, ms: number])[];
}

/** Runs `npm run bench:gpu -- OUT.json [PEER ...]`. @returns the exit code. */
export function main([out, ...peers]: readonly string[]): number {
  const addon = loadAddon();
  const unavailable = 'unavailable' in addon ? addon.unavailable : addon.cudaUnavailable();
  if ('unavailable' in addon || unavailable !== undefined) {
    console.log(`nothing is measured: ${unavailable}`);
    return 0;
  }
  const lora = (matrix: Matrix, rank: number, targets: readonly Family[]) => () =>
    trace(
      'lora',
      loraTrainingStep({
        ...shape,
        config,
        matrices: () => matrix,
        lora: { rank, alpha: 2 * rank, targets },
        dropout: { rate: 0, seed: 0 },
        adamw,
      }),
    );
  const full = () => trace('full', pretrainingStep({ ...shape, config: publishedConfigs.gpt2, adamw }));
  const ours = [
    measured(addon, 'LoRA, r=8, q k v', lora(bf16, 8, attention)),
    measured(addon, 'QLoRA, r=8, q k v', lora(nf4, 8, attention)),
    measured(addon, 'LoRA, r=16, every matrix', lora(bf16, 16, everything)),
    measured(addon, 'LoRA, r=16, q v', lora(bf16, 16, ['q', 'v'])),
    measured(addon, 'QLoRA, r=16, q v', lora(nf4, 16, ['q', 'v'])),
    measured(addon, 'LoRA, r=16, q v, blocks computed again', lora(bf16, 16, ['q', 'v']), { rematerialize: 'block' }),
    measured(addon, 'QLoRA, r=16, q v, blocks computed again', lora(nf4, 16, ['q', 'v']), { rematerialize: 'block' }),
    measured(addon, 'LoRA, r=16, q v, all moments paged', lora(bf16, 16, ['q', 'v']), allPaged),
    measured(addon, 'full fine-tuning of GPT-2 small', full),
    measured(addon, 'full fine-tuning of GPT-2 small, all moments paged', full, allPaged),
    measured(addon, 'decoding a token, NF4', () =>
      trace('decode', decodeStep({ config, matrices: () => nf4, batch: 1, capacity: 512 })),
    ),
  ];
  const bandwidths = movements.map(bandwidth);
  for (const { what, bytesASecond } of bandwidths) {
    const share = bytesASecond / bandwidths[0]!.bytesASecond;
    console.log(`${what}: ${(bytesASecond / 1e12).toFixed(2)} TB/s, ${(100 * share).toFixed(0)} % of the copy`);
  }
  const results = {
    device: addon.devices().at(1)!.name,
    ours,
    bandwidths,
    peers: peers.length === 0 ? null : runPeers(peers),
  };
  if (out !== undefined) writeFileSync(out, JSON.stringify(results, null, 1));
  return 0;
}

function measured(
  addon: Addon,
  what: string,
  make: () => Program,
  { rematerialize = 'none', budget }: How = {},
): Measured {
  const before = addon.cudaMemory().free;
  const begun = performance.now();
  const program = optimize(make(), { gpu: 'bf16', rematerialize });
  const executable = loadCuda(program, planMemory(program, budget), 'bf16');
  if ('unavailable' in executable) throw new Error(executable.unavailable);
  const loadedAt = performance.now();
  fill(executable);
  const filledAt = performance.now();
  executable.run();
  const output = Object.keys(program.outputs)[0]!;
  const loss = executable.read(output)[0];
  const firstStepSeconds = (performance.now() - filledAt + loadedAt - begun) / 1000;
  const driverBytes = before - addon.cudaMemory().free;
  executable.time(10);
  const ms = median(executable.time(50));
  const kernels = byKernel(executable);
  const { arenaBytes: plannedBytes, pagedBytes, workspaceBytes } = executable;
  executable.dispose();
  const all: Measured = {
    what,
    ms,
    firstStepSeconds,
    plannedBytes,
    pagedBytes,
    workspaceBytes,
    driverBytes,
    loss: output === 'loss' ? loss : undefined,
    kernels,
  };
  print(all);
  return all;
}

/** 256 MiB of float32: far more than the second-level cache holds. */
const n = 2 ** 26;
const block = 64;

/** What reads and writes memory and does little else: a copy, quantization and its reverse; the bytes of n numbers. */
const movements: readonly { readonly what: string; readonly bytes: number; readonly step: Step }[] = [
  {
    what: 'a copy',
    bytes: 8 * n,
    step: (scope) => {
      const y = scope.state('y', [n], 'activations');
      scope.update(y, scope.input('x', [n], 'float32'));
      return {};
    },
  },
  { what: 'NF4 quantization', bytes: (4 + 1 / 2 + 4 / block) * n, step: quantizationStep({ n, block }) },
  {
    what: 'NF4 dequantization to float32',
    bytes: (4 + 1 / 2 + 4 / block) * n,
    step: (scope) => {
      const weight = {
        codes: scope.weight('codes', [n / 2], 'uint8', 'weights'),
        absmax: scope.weight('absmax', [n / block], 'float32', 'weights'),
        codebook: scope.weight('codebook', [16], 'float32', 'weights'),
      };
      return { w: nf4Dequantize(weight, { shape: [n], block }) };
    },
  },
];

function bandwidth({ what, bytes, step }: (typeof movements)[number]): { what: string; bytesASecond: number } {
  const program = optimize(trace('bandwidth', step), { gpu: 'float32' });
  const executable = loadCuda(program, planMemory(program), 'float32');
  if ('unavailable' in executable) throw new Error(executable.unavailable);
  fill(executable);
  executable.time(5);
  const ms = median(executable.time(50));
  executable.dispose();
  return { what, bytesASecond: (1000 * bytes) / ms };
}

/** Random content for everything, of about the size that a model's has: time must not be measured on zeros. */
function fill(executable: CudaExecutable): void {
  for (const { name, shape: dimensions, storage, role, view } of executable.program.buffers) {
    if (view !== undefined || role === 'temporary' || role === 'constant') continue;
    const size = dimensions.reduce((product, extent) => product * extent, 1);
    if (storage === 'uint8') executable.write(name, bytes(size));
    else if (storage === 'int32') executable.write(name, integers(name, size));
    else {
      if (name.endsWith('.variance')) continue; // a variance is not negative: it begins at zero
      executable.write(
        name,
        floats(size, name.endsWith('.weight') ? 0.04 : 0.02, /ln_\w+\.weight$/.test(name) ? 1 : 0),
      );
    }
  }
  if (executable.program.buffers.some(({ name }) => name === 'hyper'))
    executable.write('hyper', Float32Array.of(1e-4, 1));
}

/** Random numbers of 0 to 1, which large tensors repeat: to draw each of their own would take longer than to measure. */
const noise = (() => {
  let state = 1;
  return Float32Array.from({ length: 1_000_003 }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  });
})();

function floats(size: number, scale: number, mean: number): Float32Array {
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) values[i] = mean + scale * (noise[i % noise.length]! - 0.5);
  return values;
}

function bytes(size: number): Uint8Array {
  const values = new Uint8Array(size);
  for (let i = 0; i < size; i++) values[i] = 256 * noise[i % noise.length]!;
  return values;
}

function integers(name: string, size: number): Int32Array {
  if (name === 'positions') return Int32Array.from({ length: size }, (_, i) => (size === 1 ? 300 : i % shape.length));
  if (name === 'step') return Int32Array.of(1);
  return Int32Array.from({ length: size }, (_, i) => Math.floor(noise[i % noise.length]! * config.vocabSize));
}

function byKernel(executable: CudaExecutable): Measured['kernels'] {
  executable.profile();
  const times = executable.profile();
  const sums = new Map<string, { calls: number; ms: number }>();
  executable.program.calls.forEach(({ kernel }, i) => {
    const sum = sums.get(kernel) ?? { calls: 0, ms: 0 };
    sums.set(kernel, { calls: sum.calls + 1, ms: sum.ms + times[i]! });
  });
  return [...sums].map(([kernel, { calls, ms }]) => [kernel, calls, ms] as const).sort((a, b) => b[2] - a[2]);
}

function median(values: Float32Array): number {
  return values.toSorted()[Math.floor(values.length / 2)]!;
}

function runPeers(modes: readonly string[]): unknown {
  const folder = mkdtempSync(join(tmpdir(), 'pipe-peers-'));
  const result = join(folder, 'peers.json');
  try {
    const script = join(import.meta.dirname, '..', 'bench', 'peers', 'lora_step.py');
    execFileSync('python3', [script, result, ...modes], { stdio: ['ignore', 'inherit', 'inherit'] });
    return JSON.parse(readFileSync(result, 'utf8'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function print({
  what,
  ms,
  firstStepSeconds,
  plannedBytes,
  pagedBytes,
  workspaceBytes,
  driverBytes,
  loss,
  kernels,
}: Measured): void {
  const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
  console.log(
    `${what}: ${ms.toFixed(3)} ms a step, first step after ${firstStepSeconds.toFixed(2)} s, ` +
      `arena ${mib(plannedBytes)} + workspace ${mib(workspaceBytes)}, the driver says ${mib(driverBytes)}` +
      (pagedBytes === 0 ? '' : `, ${mib(pagedBytes)} paged to the host`) +
      (loss === undefined ? '' : `, loss ${loss.toFixed(3)}`),
  );
  for (const [kernel, calls, time] of kernels.slice(0, 16))
    console.log(`  ${kernel.padEnd(28)} ${String(calls).padStart(4)} calls ${time.toFixed(3).padStart(8)} ms`);
}
