/** Tokenizers behind one interface: GPT-2's own byte-pair encoding, and any tokenizer.json. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError } from './format_error.ts';
import { readJson } from './json.ts';

/** Text to tokens and back. decode(encode(text)) is the text for a byte-level encoding. */
export interface Tokenizer {
  /** Number of tokens, the end of text included. */
  readonly vocabSize: number;
  /** The token that ends a text: `<|endoftext|>`. */
  readonly endOfText: number;
  /** Encodes plain text; adds no special tokens. */
  encode(text: string): number[];
  /** Decodes tokens; special tokens give no text. */
  decode(tokens: Iterable<number>): string;
}

/** What ends a text in GPT-2's vocabulary. */
export const endOfTextToken = '<|endoftext|>';

/** GPT-2's encoding (50,257 tokens). A special token's name in the text is encoded as the plain text that it is. */
export async function gpt2Tokenizer(): Promise<Tokenizer> {
  const { encode, decode, vocabularySize } = await import('gpt-tokenizer/encoding/r50k_base');
  const plain = { disallowedSpecial: new Set<string>() };
  const endOfText = 50256;
  return {
    vocabSize: vocabularySize,
    endOfText,
    encode: (text) => encode(text, plain),
    decode: (tokens) => decode([...tokens].filter((token) => token !== endOfText)),
  };
}

/**
 * The tokenizer of a tokenizer.json file.
 * @throws FormatError when the file is missing or malformed, or has no `<|endoftext|>`.
 */
export async function readTokenizerFile(path: string): Promise<Tokenizer> {
  if (!existsSync(path)) throw new FormatError(path, 'there is no such tokenizer file');
  const json = readJson(path);
  return tokenizerFromJson(json, path);
}

/** The tokenizer that a parsed tokenizer.json describes. @param path where it is from, for errors. @throws FormatError as readTokenizerFile. */
export async function tokenizerFromJson(json: unknown, path: string): Promise<Tokenizer> {
  const { Tokenizer: HuggingFaceTokenizer } = await import('@huggingface/tokenizers');
  if (typeof json !== 'object' || json === null) throw new FormatError(path, 'a JSON object is expected');
  let tokenizer: InstanceType<typeof HuggingFaceTokenizer>;
  try {
    tokenizer = new HuggingFaceTokenizer(json, {});
  } catch (cause) {
    throw new FormatError(path, `not a tokenizer that can be used: ${(cause as Error).message}`, { cause });
  }
  const endOfText = tokenizer.token_to_id(endOfTextToken);
  if (endOfText === undefined) throw new FormatError(path, `the vocabulary has no ${endOfTextToken}`);
  const ids = [...tokenizer.get_vocab().values()];
  return {
    vocabSize: ids.reduce((most, id) => Math.max(most, id + 1), 0),
    endOfText,
    encode: (text) => tokenizer.encode(text, { add_special_tokens: false }).ids,
    decode(tokens) {
      const ids = [...tokens];
      // The library has no decoding of nothing.
      if (ids.length === 0) return '';
      return tokenizer.decode(ids, { skip_special_tokens: true, clean_up_tokenization_spaces: false });
    },
  };
}

/**
 * The tokenizer of a checkpoint or tokenizer folder: its tokenizer.json, or GPT-2's own encoding where there is none.
 * @throws FormatError as readTokenizerFile.
 */
export async function readTokenizer(folder: string): Promise<Tokenizer> {
  const path = join(folder, 'tokenizer.json');
  return existsSync(path) ? readTokenizerFile(path) : gpt2Tokenizer();
}
