/** Stage: generates plain text about the small world from a seed, for pretraining. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { defineStage } from '../engine/stage.ts';
import { corpusDocuments } from './world/generate.ts';

export default defineStage({
  description: 'Generates training text about the small world of the instruction set from a seed.',
  params: {
    seed: { type: 'integer', default: 1, description: 'Another seed gives other text about the same world.' },
    megabytes: {
      type: 'number',
      default: 4,
      exclusiveMinimum: 0,
      maximum: 1000,
      description: 'Size of the text, in 10^6 bytes.',
    },
  },
  inputs: {},
  outputs: { text: { path: 'corpus.txt', description: 'Documents, each ended by a line <|endoftext|>.' } },
  run({ params, outputs, log }) {
    const file = openSync(outputs.text, 'w');
    let documents = 0;
    try {
      for (const document of corpusDocuments(params.seed, params.megabytes * 1e6)) {
        writeSync(file, document);
        documents++;
      }
    } finally {
      closeSync(file);
    }
    log(`${documents} documents`);
  },
});
