/** Stage: measures a model on held-out records, beside a reference: loss, agreement, KL, greedy match, embedding cosine. */
import { writeFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { defineStage, StageError } from '../engine/stage.ts';
import { evaluationBatches } from '../model/batches.ts';
import { readDataset } from '../model/dataset.ts';
import { compareGreedy } from './evaluate/greedy.ts';
import { openReader } from './evaluate/reader.ts';
import { TeacherForced } from './evaluate/teacher_forced.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { firstExamples, rowLength } from './shared/examples.ts';
import { readModel, refuseOtherVocabulary } from './shared/model_folder.ts';

/** Rows of a batch: enough to keep the kernels busy. */
const batch = 4;

export default defineStage({
  description: 'Measures a model on held-out records, beside a reference model (the 16-bit one) if there is one.',
  accelerated: true,
  params: {
    examples: { type: 'integer', minimum: 1, default: 100, description: 'Held-out examples that are measured.' },
    greedy_examples: {
      type: 'integer',
      minimum: 0,
      default: 0,
      description: 'Held-out examples whose response is generated greedily; 0 measures no generation.',
    },
    greedy_tokens: { type: 'integer', minimum: 1, default: 32, description: 'Tokens generated at most.' },
  },
  inputs: {
    model: { description: 'Checkpoint folder: 16-bit or quantized.' },
    adapter: { optional: true, description: 'PEFT folder on that model.' },
    reference: {
      optional: true,
      description: 'Checkpoint folder that the model is compared with; without it, losses alone are measured.',
    },
    reference_adapter: { optional: true, description: 'PEFT folder on the reference.' },
    data: { description: 'Tokenized instruction records (stage tokenize).' },
  },
  outputs: {
    metrics: { path: 'metrics.json', description: 'Every measure; loss in nats per response token, also per example.' },
  },
  async run(context) {
    const { params, inputs, outputs, progress, signal, measure, log } = context;
    const { model, reference, data } = await refusingBadInput(() => readInputs(inputs));
    refuseOtherVocabulary(model, data.meta);
    if (reference !== null) refuseOtherVocabulary(reference, data.meta);
    const examples = firstExamples(data.splits.validation, params.examples);
    const length = rowLength([examples], model.config.contextLength);

    const started = performance.now();
    const reader = await openReader({ model, reference }, { batch, length }, context);
    const forced = new TeacherForced(model.config);
    let done = 0;
    for (const { tokens, targets } of evaluationBatches(examples, { batch, length })) {
      forced.add({ targets, length, ...reader.read(tokens, targets) });
      done += batch;
      progress(Math.min(done, examples.count), examples.count);
      await setImmediate();
      signal.throwIfAborted();
    }
    reader.dispose();
    const read = forced.metrics();
    if (!Number.isFinite(read.loss) || !Number.isFinite(read.kl ?? 0)) {
      throw new StageError(
        `the held-out loss is ${read.loss} and the KL ${read.kl}: the model, its adapter or the reference computes what is not a number`,
      );
    }
    const greedy =
      params.greedy_examples === 0
        ? null
        : await compareGreedy(
            { model, reference },
            firstExamples(data.splits.validation, params.greedy_examples),
            { tokens: params.greedy_tokens, endOfText: data.meta.endOfText },
            context,
          );
    measure('seconds', (performance.now() - started) / 1000);
    const metrics = { ...read, ...greedy };
    log(`held-out loss ${metrics.loss.toFixed(4)} over ${metrics.tokens} tokens`);
    writeFileSync(outputs.metrics, `${JSON.stringify(metrics, null, 2)}\n`);
  },
});

interface Inputs {
  readonly model: string;
  readonly adapter: string | undefined;
  readonly reference: string | undefined;
  readonly reference_adapter: string | undefined;
  readonly data: string;
}

/** Reads all inputs. The reference is null where there is none, and the model itself where it is the same: it is run once. */
function readInputs(inputs: Inputs) {
  const model = readModel(inputs.model, inputs.adapter);
  const isItself = inputs.model === inputs.reference && inputs.adapter === inputs.reference_adapter;
  return {
    model,
    reference:
      inputs.reference === undefined ? null : isItself ? model : readModel(inputs.reference, inputs.reference_adapter),
    data: readDataset(inputs.data),
  };
}
