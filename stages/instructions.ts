/** Stage: generates an instruction set about a small world from a seed, with answers that follow by computation. */
import { writeFileSync } from 'node:fs';
import { defineStage } from '../engine/stage.ts';
import { instructionRecords } from './world/generate.ts';

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
  },
  inputs: {},
  outputs: { file: { path: 'instructions.json', description: 'JSON list of { instruction, input, output }.' } },
  run({ params, outputs, log }) {
    const records = instructionRecords(params.seed, params.count);
    writeFileSync(outputs.file, `${JSON.stringify(records, null, 1)}\n`);
    const withInput = records.filter((record) => record.input !== '').length;
    log(`${records.length} records, ${withInput} of them with an input`);
  },
});
