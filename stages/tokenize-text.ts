/** Stage: tokenizes a text into streams of tokens for pretraining. */
import { defineStage, StageError } from '../engine/stage.ts';
import { writeTextDataset } from '../model/dataset.ts';
import { endOfTextToken, gpt2Tokenizer, readTokenizer, type Tokenizer } from '../model/tokenizer.ts';
import { readText } from '../model/utf8.ts';
import { refusingBadInput } from './shared/bad_input.ts';

export default defineStage({
  description: 'Tokenizes a text for pretraining; the end of the text is held out.',
  params: {
    validation: {
      type: 'number',
      default: 0.05,
      exclusiveMinimum: 0,
      maximum: 0.9,
      description: 'Fraction of the tokens held out, at the end.',
    },
  },
  inputs: {
    text: { description: 'UTF-8 text; <|endoftext|> ends a document.' },
    tokenizer: { optional: true, description: "Folder with tokenizer.json; without it, GPT-2's own encoding." },
  },
  outputs: { dataset: { path: 'dataset', description: 'Tokenized text: meta.json and tokens.safetensors.' } },
  async run({ params, inputs, outputs, log, progress }) {
    const folder = inputs.tokenizer;
    const tokenizer = await refusingBadInput(() => (folder === undefined ? gpt2Tokenizer() : readTokenizer(folder)));
    const text = await refusingBadInput(() => readText(inputs.text));
    const tokens = encodeDocuments(text, tokenizer, progress);
    const held = Math.round(tokens.length * params.validation);
    if (held < 2 || tokens.length - held < 2) {
      throw new StageError(`${inputs.text}: ${tokens.length} tokens are too few for a training and a validation split`);
    }
    const { vocabSize, endOfText } = tokenizer;
    writeTextDataset(outputs.dataset, {
      meta: { vocabSize, endOfText, maxLength: 0, seed: 0, dropped: 0, truncated: 0 },
      splits: {
        train: { kind: 'text', tokens: tokens.subarray(0, tokens.length - held) },
        validation: { kind: 'text', tokens: tokens.subarray(tokens.length - held) },
      },
    });
    log(
      `${tokens.length - held} tokens to train on, ${held} held out, ${(Buffer.byteLength(text) / tokens.length).toFixed(2)} bytes a token`,
    );
  },
});

/**
 * The tokens of every document, each followed by the end of text. A document is encoded line by line, which gives the same tokens:
 * in a byte-level encoding the newline before a visible character is a word of its own.
 */
function encodeDocuments(
  text: string,
  tokenizer: Tokenizer,
  progress: (done: number, total: number) => void,
): Int32Array {
  const documents = text.split(endOfTextToken).map((document) => document.replace(/^\n|\n$/g, ''));
  const parts: number[][] = [];
  for (const [i, document] of documents.entries()) {
    if (i % 1024 === 0) progress(i, documents.length);
    if (document === '') continue;
    for (const line of document.split(/(?=\n\S)/)) parts.push(tokenizer.encode(line));
    parts.push([tokenizer.endOfText]);
  }
  const tokens = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    tokens.set(part, offset);
    offset += part.length;
  }
  return tokens;
}
