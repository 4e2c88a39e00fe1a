/** Two models compared token by token at GPT-2's vocabulary, as `evaluate` does it, against float64 JavaScript over the same logits. */
import type { Gpt2Config } from '../model/config.ts';
import { linear } from '../model/kernels/linear.ts';
import { Random } from '../model/random.ts';
import type { Scope } from '../model/scope.ts';
import { loadAddon } from '../native/addon.ts';
import { openComparison } from '../stages/evaluate/comparison.ts';
import { type Host, loadStep } from '../stages/shared/executables.ts';
import { type Figure, type Skipped, type Subject, sampleOf, takeTurns } from './figure.ts';

const config: Gpt2Config = { vocabSize: 50_257, contextLength: 1, width: 256, layers: 1, heads: 1, epsilon: 1e-5 };
/** Tokens: a chunk of the comparison. */
const rows = 64;

export const comparison: Subject = { name: 'comparison', measure };

async function measure(rounds: number): Promise<(Figure | Skipped)[]> {
  const what = `comparing two models at ${rows} tokens, vocabulary 50,257`;
  const addon = loadAddon();
  if ('unavailable' in addon) return [{ what, skipped: addon.unavailable }];
  const host: Host = { cpus: 1, device: 'cpu', warn: () => {}, measure: () => {} };
  const table = uniform(config.vocabSize * config.width, 'table');
  const model = {
    config,
    writeTo: (program: { write(name: string, data: Float32Array): void }, prefix = '') =>
      program.write(`${prefix}wte.weight`, table),
  };
  const hidden = { model: uniform(rows * config.width, 'model'), reference: uniform(rows * config.width, 'reference') };
  const targets = Int32Array.from({ length: rows }, (_, row) => (row * 797) % config.vocabSize);
  const program = await openComparison(model, model, host);
  const head = await loadStep('output layer', outputLayer, host);
  model.writeTo(head);
  const logitsOf = (states: Float32Array) => {
    head.write('hidden', states);
    head.run();
    return head.read('logits') as Float32Array;
  };
  const inJavaScript = () => meanKl(logitsOf(hidden.model), logitsOf(hidden.reference));

  const told = program.compare(hidden, targets).reduce((sum, { compared }) => sum + compared!.kl / rows, 0);
  const expected = inJavaScript();
  if (Math.abs(told - expected) > 1e-5 * expected) throw new Error(`the KL is ${told}, and ${expected} in JavaScript`);
  const seconds = await takeTurns(rounds, {
    inProgram: () => program.compare(hidden, targets),
    inJavaScript,
  });
  for (const each of [program, head]) each.dispose();
  const against = { what: 'output layers, then JavaScript', sample: sampleOf(seconds.inJavaScript) };
  return [{ what, unit: 's', measured: sampleOf(seconds.inProgram), against }];
}

function outputLayer(scope: Scope) {
  const hidden = scope.input('hidden', [rows, config.width], 'float32');
  return { logits: linear(hidden, scope.weight('wte.weight', [config.vocabSize, config.width], 'bf16', 'weights')) };
}

function uniform(length: number, name: string): Float32Array {
  const random = new Random(1, name);
  return Float32Array.from({ length }, () => random.uniform() - 0.5);
}

/** The mean KL(reference || model) over rows. */
function meanKl(logits: Float32Array, reference: Float32Array): number {
  let sum = 0;
  for (let start = 0; start < logits.length; start += config.vocabSize) {
    const end = start + config.vocabSize;
    const [mine, theirs] = [logSumOf(logits, start, end), logSumOf(reference, start, end)];
    for (let i = start; i < end; i++) {
      const logP = reference[i]! - theirs;
      sum += Math.exp(logP) * (logP - (logits[i]! - mine));
    }
  }
  return sum / rows;
}

/** The logarithm of the sum of exponentials. */
function logSumOf(logits: Float32Array, start: number, end: number): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = start; i < end; i++) largest = Math.max(largest, logits[i]!);
  let sum = 0;
  for (let i = start; i < end; i++) sum += Math.exp(logits[i]! - largest);
  return largest + Math.log(sum);
}
