/** Stage: answers what fits into a memory, with what has been measured of each configuration beside it. */
import { writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { defineStage } from '../engine/stage.ts';
import { readJson } from '../model/json.ts';
import { answerText } from './advise/answer.ts';
import { readMeasuredRuns } from './advise/quality.ts';
import type { Fits } from './fit/fits.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { shapeText } from './shared/base_shape.ts';

export default defineStage({
  description: 'Says which configurations fit, and the quality that runs have measured of each.',
  params: {
    results: {
      type: 'string',
      format: 'source',
      default: '',
      description: "A results folder, whose tables of runs are searched for each configuration's quality.",
    },
  },
  inputs: { fits: { description: "fit's fits." } },
  outputs: {
    text: { path: 'advice.txt', description: 'The answer for a terminal.' },
    json: { path: 'advice.json', description: 'The same for machines; sizes in bytes.' },
  },
  async run({ params, inputs, outputs }) {
    const fits = (await refusingBadInput(() => readJson(inputs.fits))) as Fits;
    const runs = params.results === '' ? null : readMeasuredRuns(params.results);
    const [base, adapted] = [shapeText(fits.shape), fits.targets.join('+')];
    const advised = fits.candidates.map((candidate) => {
      const { precision, rank } = candidate;
      return { ...candidate, quality: runs?.find({ base, adapted, rank, precision }) ?? null };
    });
    const searched = runs === null ? null : basename(params.results);
    writeFileSync(outputs.text, answerText(fits, advised, searched));
    writeFileSync(outputs.json, `${JSON.stringify({ ...fits, candidates: advised }, null, 2)}\n`);
  },
});
