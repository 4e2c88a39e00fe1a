/** Planned memory of GPT-2 Medium's training steps, and what tracing and planning them takes. */
import { optimize } from '../compile/optimize.ts';
import { planMemory } from '../compile/plan.ts';
import type { Plan } from '../compile/program.ts';
import { trace } from '../compile/trace.ts';
import { validate } from '../compile/validate.ts';
import { publishedConfigs } from '../model/config.ts';
import type { Matrix } from '../model/matrix.ts';
import { loraTrainingStep } from '../model/steps.ts';
import { type Figure, type Subject, sampleOf, takeTurns } from './figure.ts';

/** The study's own step: batch 4 of 512 tokens, rank 8 on q and v. */
function plan(matrix: Matrix): Plan {
  const step = loraTrainingStep({
    config: publishedConfigs['gpt2-medium'],
    batch: 4,
    length: 512,
    lora: { rank: 8, alpha: 16, targets: ['q', 'v'] },
    dropout: { rate: 0.05, seed: 1 },
    adamw: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01, maxNorm: 1 },
    matrices: () => matrix,
  });
  const program = optimize(trace('training', step));
  validate(program);
  return planMemory(program);
}

export const memory: Subject = { name: 'memory', measure };

async function measure(rounds: number): Promise<Figure[]> {
  const lora = () => plan({ kind: 'dense', storage: 'bf16' });
  const qlora = () => plan({ kind: 'nf4', block: 64, doubleQuantization: true });
  const megabytes = (of: () => Plan) => sampleOf([of().arenaBytes / 1e6]);
  const sizes = { lora: megabytes(lora), qlora: megabytes(qlora) };
  const seconds = await takeTurns(rounds, { lora, qlora });
  const name = { lora: 'GPT-2 Medium, LoRA step 4 x 512', qlora: 'GPT-2 Medium, QLoRA step 4 x 512' };
  return [
    { what: `${name.lora}: planned memory`, unit: 'MB', measured: sizes.lora },
    {
      what: `${name.qlora}: planned memory`,
      unit: 'MB',
      measured: sizes.qlora,
      against: { what: 'LoRA', sample: sizes.lora },
    },
    { what: `${name.lora}: trace and plan`, unit: 's', measured: sampleOf(seconds.lora) },
    { what: `${name.qlora}: trace and plan`, unit: 's', measured: sampleOf(seconds.qlora) },
  ];
}
