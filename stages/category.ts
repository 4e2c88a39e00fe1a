/** Stage: selects the instruction records of one category, told by the word that an instruction begins with. */
import { writeFileSync } from 'node:fs';
import { defineStage, StageError } from '../engine/stage.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { readRecords } from './tokenize/records.ts';

export default defineStage({
  description: 'Selects the instruction records that begin with one of some words.',
  params: {
    words: {
      type: 'array',
      items: { type: 'string' },
      minItems: 1,
      description: 'First words of instructions, in lower case: [rewrite, edit].',
    },
  },
  inputs: { file: { description: 'Instruction records: JSON, or JSON lines, of { instruction, input, output }.' } },
  outputs: { file: { path: 'instructions.json', description: 'JSON list of { instruction, input, output }.' } },
  async run({ params, inputs, outputs, log }) {
    const words = new Set(params.words);
    const records = await refusingBadInput(() => readRecords(inputs.file));
    const chosen = records.filter(({ instruction }) => words.has(firstWord(instruction)));
    if (chosen.length === 0)
      throw new StageError(
        `none of the ${records.length} records of ${inputs.file} begins with ${params.words.join(', ')}`,
      );
    writeFileSync(outputs.file, `${JSON.stringify(chosen, null, 1)}\n`);
    log(`${chosen.length} of ${records.length} records`);
  },
});

function firstWord(instruction: string): string {
  return /[\p{L}\p{N}'-]+/u.exec(instruction)?.[0].toLowerCase() ?? '';
}
