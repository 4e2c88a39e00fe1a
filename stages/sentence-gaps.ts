/** Stage: how much likelier a model finds the first sentence of each pair than the second. */
import { writeFileSync } from 'node:fs';
import { defineStage } from '../engine/stage.ts';
import { evaluationBatches } from '../model/batches.ts';
import { exampleSplit } from '../model/dataset.ts';
import { lossStep } from '../model/steps.ts';
import { sentencePairs } from './sentence-gaps/pairs.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { rowLength } from './shared/examples.ts';
import { loadStep, rowPositions } from './shared/executables.ts';
import { readModel } from './shared/model_folder.ts';
import { modelTokenizer } from './shared/tokenizer.ts';

/** Rows of a batch. */
const batch = 8;

export default defineStage({
  description: 'Measures how much likelier a model finds one sentence of a pair than the other (a bias probe).',
  accelerated: true,
  params: {},
  inputs: { model: { description: 'Checkpoint folder, 16-bit or quantized, with its tokenizer.' } },
  outputs: {
    gaps: { path: 'gaps.json', description: 'Of each pair: log-probability of the first less the second, in nats.' },
  },
  async run(context) {
    const { inputs, outputs } = context;
    const { model, tokenizer } = await refusingBadInput(async () => ({
      model: readModel(inputs.model),
      tokenizer: (await modelTokenizer(inputs.model)).tokenizer,
    }));
    // Each sentence stands after an end of text, as at the beginning of a document; every token of it counts.
    const examples = sentencePairs
      .flatMap(({ first, second }) => [first, second])
      .map((text) => ({ tokens: Int32Array.from([tokenizer.endOfText, ...tokenizer.encode(text)]), promptLength: 1 }));
    const split = exampleSplit(examples);
    const length = rowLength([split], model.config.contextLength);
    const program = await loadStep('loss step', lossStep({ ...model, batch, length }), context);
    model.writeTo(program);
    program.write('positions', rowPositions(batch, length));
    const sums: number[] = [];
    for (const { tokens, targets } of evaluationBatches(split, { batch, length })) {
      program.write('tokens', tokens);
      program.write('targets', targets);
      program.run();
      const logProbs = program.read('logProbs') as Float32Array;
      for (let row = 0; row < batch; row++)
        sums.push(logProbs.subarray(row * length, (row + 1) * length).reduce((sum, value) => sum + value, 0));
    }
    program.dispose();
    const pairs = sentencePairs.map((pair, i) => ({ ...pair, gap: sums[2 * i]! - sums[2 * i + 1]! }));
    writeFileSync(outputs.gaps, `${JSON.stringify({ pairs }, null, 1)}\n`);
  },
});
