/** Stage: how alike many PEFT adapters are, each with each: the cosine of B A over all matrices. */
import { defineStage, StageError } from '../engine/stage.ts';
import { writeJson } from '../model/json.ts';
import { readPeft } from '../model/peft.ts';
import { axisText } from './compare/inputs.ts';
import { compareAdapters } from './compare-adapters/comparison.ts';
import { refusingBadInput } from './shared/bad_input.ts';

export default defineStage({
  description: 'The cosine of B A between each two of many PEFT adapters of one base.',
  params: {
    label: {
      type: 'array',
      items: { type: 'string' },
      minItems: 1,
      description: 'The axes whose values name an adapter.',
    },
  },
  inputs: { adapters: { many: true, description: 'PEFT folders.' } },
  outputs: { similarity: { path: 'similarity.json', description: 'The names, and the matrix of cosines.' } },
  async run({ params, inputs, outputs, progress }) {
    const adapters = await refusingBadInput(() =>
      inputs.adapters.map(({ path, axes }) => ({
        path,
        name: params.label.map((axis) => axisText(axes[axis] ?? null)).join(' '),
        modules: readPeft(path).modules,
      })),
    );
    const names = adapters.map(({ name }) => name);
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined)
      throw new StageError(`two adapters are called "${twice}": name in \`label\` every axis in which they differ`);
    const cosines = adapters.map((): (number | null)[] => adapters.map(() => null));
    for (const [i, mine] of adapters.entries()) {
      progress(i, adapters.length);
      for (const [j, theirs] of adapters.slice(0, i + 1).entries()) {
        const folders = { adapter: mine.path, reference: theirs.path };
        const { cosine } = compareAdapters(mine.modules, theirs.modules, folders).whole;
        cosines[i]![j] = cosine;
        cosines[j]![i] = cosine;
      }
    }
    writeJson(outputs.similarity, { format: 1, names, cosines });
  },
});
