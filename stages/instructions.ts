/** Stage: generates an instruction set about a small world from a seed, with answers that follow by computation. */
import { writeFileSync } from 'node:fs';
import { defineStage, StageError } from '../engine/stage.ts';
import { instructionRecords, type TaskKind, taskKinds } from './world/generate.ts';

export default defineStage({
  description: 'Generates instruction records (Alpaca format) about a small world from a seed.',
  params: {
    seed: { type: 'integer', default: 42, description: 'Another seed gives other records.' },
    count: {
      type: 'integer',
      default: 3000,
      minimum: 2,
      maximum: 1_000_000,
      description: 'How many records; no two are equal.',
    },
    kinds: {
      type: 'array',
      items: { type: 'string', enum: [...taskKinds] },
      minItems: 1,
      default: [...taskKinds],
      description: 'What they are about: facts, lists, numbers, language.',
    },
  },
  inputs: {},
  outputs: { file: { path: 'instructions.json', description: 'JSON list of { instruction, input, output }.' } },
  run({ params, outputs, log }) {
    const records = recordsOf(params.seed, params.count, params.kinds as TaskKind[]);
    writeFileSync(outputs.file, `${JSON.stringify(records, null, 1)}\n`);
    const withInput = records.filter((record) => record.input !== '').length;
    log(`${records.length} records, ${withInput} of them with an input`);
  },
});

/** @throws StageError when the kinds do not give so many different records. */
function recordsOf(seed: number, count: number, kinds: readonly TaskKind[]) {
  try {
    return instructionRecords(seed, count, kinds);
  } catch (error) {
    if (error instanceof RangeError) throw new StageError(`${error.message}: lower count, or name more kinds`);
    throw error;
  }
}
