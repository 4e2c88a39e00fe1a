/** Stage: gives families of matrices 8 or 4 bits by their measured sensitivity, within a budget of bits. */
import { defineStage, StageError } from '../engine/stage.ts';
import { families } from '../model/gpt2.ts';
import { chooseBits, type Sensitive } from './choose-bits/budget.ts';
import { type Choice, writeChoice } from './choose-bits/choice.ts';
import type { Results } from './compare/results.ts';
import { readStudy } from './shared/study.ts';

export default defineStage({
  description: 'Chooses the bits of each family of matrices by measured sensitivity, within a budget.',
  params: {
    order: {
      type: 'string',
      enum: ['most', 'least'],
      default: 'most',
      description: 'Which families come first for the many bits: the most sensitive, or (as a control) the least.',
    },
    high: { type: 'integer', enum: [4, 8], default: 8, description: 'Bits of the families that are chosen.' },
    low: { type: 'integer', enum: [2, 3, 4], default: 4, description: 'Bits of the others.' },
    budget: { type: 'number', exclusiveMinimum: 0, default: 5, description: 'The most bits a weight, on average.' },
  },
  inputs: { results: { description: "compare's results, with the sensitivity of every family in all its layers." } },
  outputs: { choice: { path: 'choice.json', description: 'Bits of each family, and what they were chosen by.' } },
  run({ params, inputs, outputs, log }) {
    const measured = sensitivities(readStudy(inputs.results).comparison);
    const { bits, meanBits } = chooseBits(measured, params);
    writeChoice(outputs.choice, bits as Choice, {
      order: params.order,
      budget: params.budget,
      meanBits,
      sensitivities: measured,
    });
    log(
      `${Object.entries(bits)
        .map(([family, width]) => `${family} ${width}`)
        .join(', ')}: ${meanBits.toFixed(2)} bits a weight`,
    );
  },
});

/** The increase per weight of each family. @throws StageError when one was not measured. */
function sensitivities(comparison: Results | null): Sensitive[] {
  const sensitivity = comparison?.sensitivity ?? null;
  if (sensitivity === null)
    throw new StageError('the results hold no sensitivities: give compare `families` and `unquantized`');
  return families.map((family) => {
    const cell = sensitivity.cells.find((one) => one.family === family && one.layer === sensitivity.whole);
    if (cell?.perMillion == null || cell.weights === null) {
      throw new StageError(
        `the results hold no increase per weight of ${family} in all its layers: evaluate it, and give compare \`counts\``,
      );
    }
    return { family, weights: cell.weights, perMillion: cell.perMillion.value };
  });
}
