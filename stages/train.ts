/** Stage: trains low-rank adapters on a frozen base: LoRA on a 16-bit one, QLoRA on a quantized one. */
import { writeFileSync } from 'node:fs';
import { peakMemory } from '../compile/memory.ts';
import { type Rematerialization, rematerializations } from '../compile/passes/rematerialize.ts';
import { defineStage } from '../engine/stage.ts';
import { writeAdapter } from '../model/adapter.ts';
import { batches, evaluationBatches } from '../model/batches.ts';
import { type InstructionDataset, readDataset } from '../model/dataset.ts';
import { adapterShapes, type LoraConfig } from '../model/lora.ts';
import { lossStep } from '../model/steps.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { writeCurve } from './shared/curve.ts';
import { firstExamples, rowLength } from './shared/examples.ts';
import type { Host } from './shared/executables.ts';
import { openHeldOut } from './shared/held_out.ts';
import { loadLoraTraining } from './shared/lora_training.ts';
import { readModel, refuseOtherVocabulary } from './shared/model_folder.ts';
import { type Paging, pagingOf, pagingParams } from './shared/paging.ts';
import { plansOf, sayingWhatFits } from './shared/room.ts';
import { schedules } from './shared/schedule.ts';
import { parseTargets } from './shared/targets.ts';
import { type AdamWOptions, adamW, runTraining } from './shared/training.ts';
import { type Seeds, seedsOf } from './train/seeds.ts';

export default defineStage({
  description: 'Trains LoRA adapters on a frozen base; on a base in NF4 this is QLoRA.',
  accelerated: true,
  params: {
    targets: {
      type: 'string',
      default: 'q+v',
      description: 'Matrices that get an adapter: q, k, v, o, fc, proj, attention, mlp or all, joined with +.',
    },
    rank: { type: 'integer', minimum: 1, default: 8, description: 'Rank of each adapter.' },
    alpha: { type: 'number', exclusiveMinimum: 0, default: 16, description: 'Updates are scaled by alpha / rank.' },
    dropout: { type: 'number', minimum: 0, maximum: 0.99, default: 0, description: "Dropout on the adapters' input." },
    steps: { type: 'integer', minimum: 1, default: 200, description: 'Training steps.' },
    batch: { type: 'integer', minimum: 1, default: 4, description: 'Examples a step.' },
    lr: { type: 'number', exclusiveMinimum: 0, default: 0.0002, description: 'Highest learning rate.' },
    schedule: { type: 'string', enum: schedules, default: 'linear', description: 'How the learning rate decays.' },
    warmup: { type: 'integer', minimum: 0, default: 10, description: 'Steps of linear warm-up.' },
    weight_decay: { type: 'number', minimum: 0, default: 0, description: 'Decoupled weight decay.' },
    max_grad_norm: { type: 'number', minimum: 0, default: 1, description: 'Gradients are clipped to it; 0: never.' },
    eval_every: { type: 'integer', minimum: 1, default: 50, description: 'Held-out loss after every so many steps.' },
    eval_examples: { type: 'integer', minimum: 1, default: 40, description: 'Held-out examples for that loss.' },
    seed: {
      type: 'integer',
      minimum: 0,
      maximum: 2 ** 31 - 1,
      default: 42,
      description: "Draws A's first values, the order, the dropout.",
    },
    order: {
      type: 'integer',
      minimum: 0,
      default: 0,
      description: "Another number: another order of the examples (and dropout), with the seed's A.",
    },
    init: {
      type: 'integer',
      minimum: 0,
      default: 0,
      description: "Another number: other first values of A, with the seed's order.",
    },
    rematerialize: {
      type: 'string',
      enum: rematerializations,
      default: 'none',
      description:
        'block: computes each block of layers again for its gradient; slower, less memory, the same adapter.',
    },
    ...pagingParams,
    repeat: {
      type: 'integer',
      minimum: 0,
      default: 0,
      description: 'Another number trains the same again: nothing that is computed depends on it.',
    },
  },
  inputs: {
    base: { description: 'Checkpoint folder: 16-bit, or quantized (stage quantize).' },
    data: { description: 'Tokenized instruction records (stage tokenize).' },
  },
  outputs: {
    adapter: { path: 'adapter', description: 'PEFT folder.' },
    curve: { path: 'curve.csv', description: 'Loss, learning rate and gradient norm of each step; held-out loss.' },
    summary: {
      path: 'summary.json',
      description: 'Shape of the base, adapters, planned peak memory by group (bytes), final losses.',
    },
  },
  async run(context) {
    const { params, inputs, outputs } = context;
    const { batch } = params;
    const seeds = seedsOf(params);
    const lora = { rank: params.rank, alpha: params.alpha, targets: parseTargets(params.targets) };
    const data = await refusingBadInput(() => readDataset(inputs.data));
    const { config, quantized, length, training, heldOut } = await openTraining(data, lora, seeds, context);

    const curve = await runTraining({
      program: training,
      batches: batches(data.splits.train, { batch, length, seed: seeds.order }),
      schedule: { kind: params.schedule, peak: params.lr, steps: params.steps, warmup: params.warmup },
      evaluateEvery: params.eval_every,
      heldOut,
      context,
    });

    const names = [...adapterShapes(config, lora).keys()];
    const tensors = new Map(names.map((name) => [name, training.read(name) as Float32Array]));
    const memory = peakMemory(training.plan);
    training.dispose();
    heldOut.dispose();
    writeAdapter(outputs.adapter, { config, lora, tensors }, { quantizedBase: quantized, dropout: params.dropout });
    writeCurve(outputs.curve, curve);
    const last = curve.at(-1)!;
    const { layers, width, heads, vocabSize, contextLength } = config;
    const summary = {
      base: { layers, width, heads, vocabSize, contextLength, quantized },
      adapters: lora,
      memory,
      trainableParameters: [...tensors.values()].reduce((sum, { length }) => sum + length, 0),
      steps: params.steps,
      rows: batch,
      rowLength: length,
      finalLoss: last.loss,
      finalValidationLoss: last.validationLoss,
    };
    writeFileSync(outputs.summary, `${JSON.stringify(summary, null, 2)}\n`);
  },
});

/** The parameters that decide what is loaded. */
interface Options extends AdamWOptions {
  readonly batch: number;
  readonly dropout: number;
  readonly eval_examples: number;
  readonly rematerialize: Rematerialization;
  readonly memory_budget: string;
  readonly paged_optimizer: Paging['moments'];
}

/**
 * Loads the program that trains and the one that measures, weights and fresh adapters in place. The base as it was read, in
 * float32, is let go of here: training need not hold it besides.
 */
async function openTraining(
  data: InstructionDataset,
  lora: LoraConfig,
  seeds: Seeds,
  context: Host & { readonly params: Options; readonly inputs: { readonly base: string } },
) {
  const { batch, dropout, eval_examples, rematerialize } = context.params;
  const base = await refusingBadInput(() => readModel(context.inputs.base));
  refuseOtherVocabulary(base, data.meta);
  const { config, matrices, quantized } = base;
  const { train, validation } = data.splits;
  const sizes = { batch, length: rowLength([train, validation], config.contextLength) };

  const asked = {
    training: { config, matrices, targets: lora.targets, rank: lora.rank, dropout, ...sizes },
    rematerialize,
    quantized,
    device: context.device,
    paging: pagingOf(context.params),
  };
  const { training, heldOut } = await sayingWhatFits(plansOf(asked), context, async (budget) => {
    const training = await loadLoraTraining(
      base,
      {
        lora,
        dropout: { rate: dropout, seed: seeds.order },
        adamw: adamW(context.params, 0.999),
        init: seeds.init,
        rematerialize,
        budget,
        ...sizes,
      },
      context,
    );
    const heldOut = await openHeldOut(
      {
        step: lossStep({ config, matrices, lora, ...sizes }),
        ...sizes,
        batches: [...evaluationBatches(firstExamples(validation, eval_examples), sizes)],
        training,
        trained: [...adapterShapes(config, lora).keys()],
        writeFrozen: base.writeTo,
      },
      context,
    );
    return { training, heldOut };
  });
  return { config, quantized, length: sizes.length, training, heldOut };
}
