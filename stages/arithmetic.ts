/** Stage: turns grade-school arithmetic questions with worked answers (GSM8K's lines) into instruction records. */
import { writeFileSync } from 'node:fs';
import { defineStage, StageError } from '../engine/stage.ts';
import { readText } from '../model/utf8.ts';
import { refusingBadInput } from './shared/bad_input.ts';

export default defineStage({
  description: 'Turns arithmetic questions with worked answers (the lines of GSM8K) into instruction records.',
  params: {},
  inputs: { file: { description: 'JSON lines of { question, answer }, the result after ####.' } },
  outputs: { file: { path: 'instructions.json', description: 'JSON list of { instruction, input, output }.' } },
  async run({ inputs, outputs, log }) {
    const text = await refusingBadInput(() => readText(inputs.file));
    const records = text
      .split('\n')
      .map((line, i) => ({ line, number: i + 1 }))
      .filter(({ line }) => line.trim() !== '')
      .map(({ line, number }) => recordOf(line, `${inputs.file}: line ${number}`));
    if (records.length === 0) throw new StageError(`${inputs.file} holds no questions`);
    writeFileSync(outputs.file, `${JSON.stringify(records, null, 1)}\n`);
    log(`${records.length} questions`);
  },
});

/** @throws StageError for a line that is no question with an answer and a result. */
function recordOf(line: string, place: string): { instruction: string; input: string; output: string } {
  let read: unknown;
  try {
    read = JSON.parse(line);
  } catch (error) {
    throw new StageError(`${place} is not JSON: ${(error as Error).message}`);
  }
  const { question, answer } = Object(read) as Readonly<Record<string, unknown>>;
  if (typeof question !== 'string' || typeof answer !== 'string')
    throw new StageError(`${place} must be { "question": text, "answer": text }`);
  // <<48/2=24>> is a note for a calculator, which a reader does not see.
  const parts = /^(.*)\n#### *([^\n]+)$/s.exec(answer.replace(/<<[^<>]*>>/g, '').trim());
  if (parts === null) throw new StageError(`${place}: the answer does not end in a line "#### result"`);
  return { instruction: question.trim(), input: '', output: `${parts[1]!.trim()}\nThe answer is ${parts[2]!.trim()}.` };
}
