/** Stage: trains a whole GPT-2 from its first weights on a text, and writes it as a 16-bit checkpoint. */
import { defineStage, StageError } from '../engine/stage.ts';
import { batches, evaluationBatches } from '../model/batches.ts';
import { copyTokenizer, type DenseWeight, weightShapes, writeCheckpoint } from '../model/checkpoint.ts';
import type { Gpt2Config } from '../model/config.ts';
import { readTextDataset, splitNames, type TextDataset } from '../model/dataset.ts';
import { initialWeights } from '../model/initial.ts';
import { lossStep, pretrainingStep } from '../model/steps.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { writeCurve } from './shared/curve.ts';
import { loadStep, rowPositions } from './shared/executables.ts';
import { openHeldOut } from './shared/held_out.ts';
import { pagingOf, pagingParams } from './shared/paging.ts';
import { pretrainingPlans, sayingWhatFits } from './shared/room.ts';
import { schedules } from './shared/schedule.ts';
import { adamW, runTraining } from './shared/training.ts';

export default defineStage({
  description: 'Trains a whole GPT-2 on a text, from scratch; the checkpoint is written in 16 bits.',
  accelerated: true,
  params: {
    layers: { type: 'integer', minimum: 1, default: 4, description: 'Transformer blocks.' },
    width: { type: 'integer', minimum: 8, default: 128, description: 'Channels of the residual stream.' },
    heads: { type: 'integer', minimum: 1, default: 4, description: 'Attention heads; divides the width.' },
    context: { type: 'integer', minimum: 2, default: 256, description: 'Longest sequence, in tokens.' },
    steps: { type: 'integer', minimum: 1, default: 1000, description: 'Training steps.' },
    batch: { type: 'integer', minimum: 1, default: 16, description: 'Sequences a step.' },
    length: { type: 'integer', minimum: 2, default: 256, description: 'Tokens a sequence; at most the context.' },
    lr: { type: 'number', exclusiveMinimum: 0, default: 0.001, description: 'Highest learning rate.' },
    schedule: { type: 'string', enum: schedules, default: 'cosine', description: 'How the learning rate decays.' },
    warmup: { type: 'integer', minimum: 0, default: 100, description: 'Steps of linear warm-up.' },
    weight_decay: { type: 'number', minimum: 0, default: 0.1, description: 'Decoupled weight decay on matrices.' },
    beta2: { type: 'number', minimum: 0, maximum: 0.9999, default: 0.95, description: "AdamW's beta2." },
    max_grad_norm: { type: 'number', minimum: 0, default: 1, description: 'Gradients are clipped to it; 0: never.' },
    eval_every: { type: 'integer', minimum: 1, default: 250, description: 'Held-out loss after every so many steps.' },
    eval_tokens: { type: 'integer', minimum: 1, default: 32768, description: 'Held-out tokens that are measured.' },
    precision: {
      type: 'string',
      enum: ['float32', 'bf16'],
      default: 'float32',
      description: 'What products are multiplied in; bf16 needs a GPU. Weights and sums are float32 in both.',
    },
    ...pagingParams,
    seed: {
      type: 'integer',
      minimum: 0,
      default: 42,
      description: 'Draws the first weights and the order of the data.',
    },
  },
  inputs: {
    data: { description: 'Tokenized text (stage tokenize-text).' },
    tokenizer: { description: "The tokenizer's folder; travels with the checkpoint." },
  },
  outputs: {
    model: { path: 'model', description: 'Hugging Face checkpoint folder, bf16.' },
    curve: { path: 'curve.csv', description: 'Loss, learning rate and gradient norm of each step; held-out loss.' },
  },
  async run(context) {
    const { params, inputs, outputs } = context;
    const { batch, length, seed, precision } = params;
    if (precision === 'bf16' && context.device === 'cpu') {
      throw new StageError(
        'precision bf16 needs a GPU, and this runs on the CPU: run with --device cuda, or set it to float32',
      );
    }
    const data = await refusingBadInput(() => readTextDataset(inputs.data));
    const config = modelSizes(params, data.meta.vocabSize);
    refuseShortText(data.splits, length);

    const names = [...weightShapes(config).keys()];
    const gpu = context.device === 'cuda' ? precision : undefined;
    const plans = pretrainingPlans({ config, batch, length }, gpu, pagingOf(params));
    const { training, heldOut } = await sayingWhatFits(plans, context, async (budget) => {
      const step = pretrainingStep({ config, batch, length, adamw: adamW(params, params.beta2) });
      const training = await loadStep('pretraining step', step, context, { precision, budget });
      for (const [name, { data }] of initialWeights(config, seed)) training.write(name, data);
      training.write('positions', rowPositions(batch, length));

      const dense = { kind: 'dense', storage: 'bf16' } as const;
      const heldBatches = [...evaluationBatches(data.splits.validation, { batch, length })];
      const heldOut = await openHeldOut(
        {
          step: lossStep({ config, matrices: () => dense, batch, length }),
          batch,
          length,
          batches: heldBatches.slice(0, Math.max(1, Math.floor(params.eval_tokens / (batch * length)))),
          training,
          trained: names,
          writeFrozen: () => {},
        },
        context,
      );
      return { training, heldOut };
    });
    const curve = await runTraining({
      program: training,
      batches: batches(data.splits.train, { batch, length, seed }),
      schedule: { kind: params.schedule, peak: params.lr, steps: params.steps, warmup: params.warmup },
      evaluateEvery: params.eval_every,
      heldOut,
      context,
    });

    const weights = new Map<string, DenseWeight>();
    for (const [name, shape] of weightShapes(config)) {
      weights.set(name, { kind: 'dense', shape, data: training.read(name) as Float32Array });
    }
    training.dispose();
    heldOut.dispose();
    writeCheckpoint(outputs.model, { config, weights }, 'BF16');
    copyTokenizer(inputs.tokenizer, outputs.model);
    writeCurve(outputs.curve, curve);
  },
});

function modelSizes(
  params: { layers: number; width: number; heads: number; context: number; length: number },
  vocabSize: number,
): Gpt2Config {
  const { layers, width, heads, context, length } = params;
  if (width % heads !== 0) throw new StageError(`width ${width} is not a multiple of heads ${heads}`);
  if (length > context) throw new StageError(`length ${length} is longer than the context of ${context} tokens`);
  return { vocabSize, contextLength: context, width, layers, heads, epsilon: 1e-5 };
}

/** @throws StageError when a split has no window of `length` tokens with the token after it. */
function refuseShortText(splits: TextDataset['splits'], length: number): void {
  for (const name of splitNames) {
    const { tokens } = splits[name];
    if (tokens.length > length) continue;
    throw new StageError(
      `the ${name} split has ${tokens.length} tokens, too few for a sequence of ${length} and the token after it: give more text, or lower length`,
    );
  }
}
