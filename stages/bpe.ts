/** Stage: trains a byte-level byte-pair encoding on a text. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { defineStage } from '../engine/stage.ts';
import { tokenizerJson, trainBpe } from '../model/bpe.ts';
import { writeJson } from '../model/json.ts';
import { readText } from '../model/utf8.ts';
import { refusingBadInput } from './shared/bad_input.ts';

export default defineStage({
  description: 'Trains a byte-level BPE tokenizer on a text.',
  params: {
    vocab_size: {
      type: 'integer',
      default: 2048,
      minimum: 257,
      maximum: 65_535,
      description: 'Tokens at most: 256 bytes, the merges, and <|endoftext|>.',
    },
  },
  inputs: { text: { description: 'UTF-8 text; <|endoftext|> parts documents.' } },
  outputs: { tokenizer: { path: 'tokenizer', description: 'Folder with tokenizer.json (Hugging Face format).' } },
  async run({ params, inputs, outputs, log, progress }) {
    const text = await refusingBadInput(() => readText(inputs.text));
    const encoding = trainBpe(text, params.vocab_size, progress);
    mkdirSync(outputs.tokenizer, { recursive: true });
    writeJson(join(outputs.tokenizer, 'tokenizer.json'), tokenizerJson(encoding));
    const size = encoding.vocabulary.size;
    const short =
      size < params.vocab_size
        ? `: the text has no pair left that occurs twice, ${params.vocab_size} were asked for`
        : '';
    log(`${size} tokens${short}`);
  },
});
