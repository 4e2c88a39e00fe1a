/** Stage: tokenizes instruction records in Alpaca's prompt forms, with a seeded split into training and validation. */
import { defineStage, StageError } from '../engine/stage.ts';
import { alpacaPrompt } from '../model/alpaca.ts';
import { type Example, exampleSplit, writeDataset } from '../model/dataset.ts';
import { Random } from '../model/random.ts';
import { gpt2Tokenizer, type Tokenizer } from '../model/tokenizer.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { modelTokenizer } from './shared/tokenizer.ts';
import { type InstructionRecord, readRecords } from './tokenize/records.ts';

export default defineStage({
  description: "Tokenizes instruction records in Alpaca's prompt forms; the loss is on the response alone.",
  params: {
    max_length: {
      type: 'integer',
      default: 512,
      minimum: 2,
      description: 'Longest example in tokens; longer responses are cut.',
    },
    validation: { type: 'number', default: 0.1, exclusiveMinimum: 0, maximum: 0.9, description: 'Fraction held out.' },
    limit: {
      type: 'integer',
      default: 0,
      minimum: 0,
      description: 'Use this many records, drawn by the seed; 0 uses all.',
    },
    seed: { type: 'integer', default: 42, description: 'Draws the records and the split.' },
  },
  inputs: {
    data: { description: 'JSON list, or JSON lines, of { instruction, input, output }.' },
    model: {
      optional: true,
      description: "Checkpoint folder whose tokenizer is used; without it, GPT-2's own encoding.",
    },
  },
  outputs: { dataset: { path: 'dataset', description: 'Tokenized data set: meta.json and tokens.safetensors.' } },
  async run({ params, inputs, outputs, log, progress, measure }) {
    const records = await refusingBadInput(() => readRecords(inputs.data));
    const tokenizer = await tokenizerFor(inputs.model, params.max_length);
    const random = new Random(params.seed, 'split');
    const chosen = random.shuffle(records).slice(0, params.limit === 0 ? records.length : params.limit);

    const examples: Example[] = [];
    let truncated = 0;
    for (const [i, record] of chosen.entries()) {
      if (i % 256 === 0) progress(i, chosen.length);
      const result = tokenizeRecord(record, tokenizer, params.max_length);
      if (result === null) continue;
      examples.push(result.example);
      if (result.truncated) truncated++;
    }
    const dropped = chosen.length - examples.length;
    const held = Math.max(1, Math.round(examples.length * params.validation));
    if (examples.length <= held) {
      throw new StageError(
        `${inputs.data}: ${examples.length} of ${chosen.length} records are left (${dropped} have no response within max_length ${params.max_length}), too few for a training and a validation split`,
      );
    }
    const meta = {
      vocabSize: tokenizer.vocabSize,
      endOfText: tokenizer.endOfText,
      maxLength: params.max_length,
      seed: params.seed,
      dropped,
      truncated,
    };
    const splits = { train: exampleSplit(examples.slice(held)), validation: exampleSplit(examples.slice(0, held)) };
    writeDataset(outputs.dataset, { meta, splits });
    log(`${examples.length - held} records to train on, ${held} held out, ${truncated} truncated, ${dropped} dropped`);
    measure(
      'longest example (tokens)',
      examples.reduce((most, { tokens }) => Math.max(most, tokens.length), 0),
    );
  },
});

async function tokenizerFor(model: string | undefined, maxLength: number): Promise<Tokenizer> {
  if (model === undefined) return gpt2Tokenizer();
  const { tokenizer, config } = await refusingBadInput(() => modelTokenizer(model));
  if (maxLength > config.contextLength) {
    throw new StageError(
      `max_length is ${maxLength}, but the model's context holds ${config.contextLength} tokens: set max_length to that or less`,
    );
  }
  return tokenizer;
}

/** Prompt, response and end of text; null when no token of the response is left within maxLength, or there is no response. */
function tokenizeRecord(
  record: InstructionRecord,
  tokenizer: Tokenizer,
  maxLength: number,
): { example: Example; truncated: boolean } | null {
  if (record.output === '') return null;
  const prompt = tokenizer.encode(alpacaPrompt(record));
  if (prompt.length >= maxLength) return null;
  const tokens = [...prompt, ...tokenizer.encode(record.output), tokenizer.endOfText];
  return {
    example: { tokens: Int32Array.from(tokens.slice(0, maxLength)), promptLength: prompt.length },
    truncated: tokens.length > maxLength,
  };
}
