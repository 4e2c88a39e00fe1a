/** The tokenizer that goes with a model, checked against the model's sizes. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { StageError } from '../../engine/stage.ts';
import { readConfig } from '../../model/checkpoint.ts';
import type { Gpt2Config } from '../../model/config.ts';
import { readTokenizer, type Tokenizer } from '../../model/tokenizer.ts';

/**
 * Reads a checkpoint folder's tokenizer and sizes.
 * @throws StageError when the tokenizer's vocabulary is not the model's; FormatError for a bad file.
 */
export async function modelTokenizer(
  folder: string,
): Promise<{ readonly tokenizer: Tokenizer; readonly config: Gpt2Config }> {
  const config = readConfig(folder);
  const tokenizer = await readTokenizer(folder);
  if (tokenizer.vocabSize !== config.vocabSize) {
    const source = existsSync(join(folder, 'tokenizer.json'))
      ? 'its tokenizer.json'
      : "GPT-2's own encoding (the folder has no tokenizer.json)";
    throw new StageError(
      `${folder}: the model's vocab_size is ${config.vocabSize}, but ${source} has ${tokenizer.vocabSize} tokens: put the tokenizer that the model was trained with beside its weights`,
    );
  }
  return { tokenizer, config };
}
