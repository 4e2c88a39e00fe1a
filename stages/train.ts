/** Stage: trains low-rank adapters on a frozen base: LoRA on a 16-bit one, QLoRA on a quantized one. */
import { writeFileSync } from 'node:fs';
import { peakMemory } from '../compile/memory.ts';
import { defineStage, StageError } from '../engine/stage.ts';
import { writeAdapter } from '../model/adapter.ts';
import { batches, evaluationBatches } from '../model/batches.ts';
import { type ExampleSplit, readDataset } from '../model/dataset.ts';
import { adapterShapes, initialAdapters } from '../model/lora.ts';
import { loraTrainingStep, lossStep } from '../model/steps.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { writeCurve } from './shared/curve.ts';
import { firstExamples, longestRow } from './shared/examples.ts';
import { loadStep, rowPositions } from './shared/executables.ts';
import { openHeldOut } from './shared/held_out.ts';
import { readModel, refuseOtherVocabulary } from './shared/model_folder.ts';
import { schedules } from './shared/schedule.ts';
import { parseTargets } from './shared/targets.ts';
import { runTraining } from './shared/training.ts';

export default defineStage({
  description: 'Trains LoRA adapters on a frozen base; on a base in NF4 this is QLoRA.',
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
    seed: { type: 'integer', minimum: 0, default: 42, description: "Draws A's first values, the order, the dropout." },
  },
  inputs: {
    base: { description: 'Checkpoint folder: 16-bit, or quantized (stage quantize).' },
    data: { description: 'Tokenized instruction records (stage tokenize).' },
  },
  outputs: {
    adapter: { path: 'adapter', description: 'PEFT folder.' },
    curve: { path: 'curve.csv', description: 'Loss, learning rate and gradient norm of each step; held-out loss.' },
    summary: { path: 'summary.json', description: 'Planned peak memory by group (bytes), sizes, final losses.' },
  },
  async run(context) {
    const { params, inputs, outputs } = context;
    const { batch, seed } = params;
    const lora = { rank: params.rank, alpha: params.alpha, targets: parseTargets(params.targets) };
    const { base, data } = await refusingBadInput(() => ({
      base: readModel(inputs.base),
      data: readDataset(inputs.data),
    }));
    refuseOtherVocabulary(base, data.meta);
    const { config, matrices } = base;
    const { train, validation } = data.splits;
    const length = rowLength(train, validation, config.contextLength);

    const adamw = {
      beta1: 0.9,
      beta2: 0.999,
      epsilon: 1e-8,
      weightDecay: params.weight_decay,
      maxNorm: params.max_grad_norm,
    };
    const dropout = { rate: params.dropout, seed };
    const step = loraTrainingStep({ config, matrices, lora, dropout, adamw, batch, length });
    const training = await loadStep('LoRA training step', step, context);
    base.writeTo(training);
    for (const [name, data] of initialAdapters(config, lora, seed)) training.write(name, data);
    training.write('positions', rowPositions(batch, length));

    const names = [...adapterShapes(config, lora).keys()];
    const heldOut = await openHeldOut(
      {
        step: lossStep({ config, matrices, lora, batch, length }),
        batch,
        length,
        batches: [...evaluationBatches(firstExamples(validation, params.eval_examples), { batch, length })],
        training,
        trained: names,
        writeFrozen: base.writeTo,
      },
      context,
    );
    const curve = await runTraining({
      program: training,
      batches: batches(train, { batch, length, seed }),
      schedule: { kind: params.schedule, peak: params.lr, steps: params.steps, warmup: params.warmup },
      evaluateEvery: params.eval_every,
      heldOut,
      context,
    });

    const tensors = new Map(names.map((name) => [name, training.read(name) as Float32Array]));
    const memory = peakMemory(training.program);
    training.dispose();
    heldOut.dispose();
    writeAdapter(outputs.adapter, { config, lora, tensors });
    writeCurve(outputs.curve, curve);
    const last = curve.at(-1)!;
    const summary = {
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

/** Rows as long as the longest example needs. @throws StageError when that is longer than the model's context. */
function rowLength(train: ExampleSplit, validation: ExampleSplit, contextLength: number): number {
  const length = Math.max(longestRow(train), longestRow(validation));
  if (length <= contextLength) return length;
  throw new StageError(
    `the longest example has ${length + 1} tokens, and the model's context ${contextLength}: tokenize with max_length ${contextLength}`,
  );
}
