/** Stage: finds the largest batch of each configuration that a memory holds, by planning, exactly and without a GPU. */
import { writeFileSync } from 'node:fs';
import { rematerializations } from '../compile/passes/rematerialize.ts';
import { defineStage, StageError } from '../engine/stage.ts';
import { readConfig } from '../model/checkpoint.ts';
import type { Gpt2Config } from '../model/config.ts';
import { namedShapes, type ShapeName, shapeNames } from '../model/shapes.ts';
import type { Fits } from './fit/fits.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { largestWithin } from './shared/largest.ts';
import { footprint, type Precision, storages, storedIn } from './shared/planned_training.ts';
import { parseTargets } from './shared/targets.ts';

/** Larger batches are not asked for: no step of a fine-tuning has as many sequences. */
const mostSequences = 1024;

export default defineStage({
  description: 'Plans which precision, rank and batch of a fine-tuning fit into a memory.',
  params: {
    model: { type: 'string', enum: [...shapeNames], default: 'gpt2-medium', description: 'The model, by name.' },
    folder: {
      type: 'string',
      format: 'source',
      default: '',
      description: 'A checkpoint folder, whose model is planned in place of a named one; only its sizes are read.',
    },
    memory: { type: 'integer', minimum: 1, default: 8_000_000_000, description: 'What there is, in bytes.' },
    targets: { type: 'string', default: 'q+v', description: 'Matrices that get an adapter, as in train.' },
    ranks: {
      type: 'array',
      items: { type: 'integer', minimum: 1 },
      minItems: 1,
      default: [2, 4, 8, 16],
      description: 'Ranks that are planned.',
    },
    length: {
      type: 'integer',
      minimum: 1,
      default: 512,
      description: "Tokens of a sequence; at most the model's context.",
    },
  },
  inputs: {},
  outputs: {
    fits: { path: 'fits.json', description: 'The largest batch of each configuration, and what it takes.' },
  },
  async run({ params, outputs, progress, log }) {
    const config = await configOf(params);
    const length = Math.min(params.length, config.contextLength);
    const targets = parseTargets(params.targets);
    const precisions = Object.keys(storages) as Precision[];
    const configurations = precisions.flatMap((precision) =>
      rematerializations.flatMap((rematerialize) => params.ranks.map((rank) => ({ precision, rematerialize, rank }))),
    );
    const candidates: Fits['candidates'][number][] = [];
    for (const one of configurations) {
      progress(candidates.length, configurations.length);
      const { precision, rematerialize, rank } = one;
      const takes = remembering((batch) =>
        footprint(
          { config, matrices: storedIn(precision), targets, rank, batch, length },
          { gpu: 'bf16', rematerialize },
        ),
      );
      const batch = largestWithin((n) => takes(n).total, params.memory, mostSequences);
      candidates.push({ ...one, batch, takes: takes(Math.max(1, batch)), next: takes(batch + 1).total });
      log(`${one.precision}, rank ${one.rank}, computed again: ${one.rematerialize}: ${batch} sequences`);
    }
    const { layers, width, vocabSize } = config;
    const fits: Fits = {
      model: params.folder === '' ? params.model : params.folder,
      shape: { layers, width, vocabSize },
      memory: params.memory,
      targets,
      length,
      candidates,
    };
    writeFileSync(outputs.fits, `${JSON.stringify(fits, null, 2)}\n`);
  },
});

async function configOf({ model, folder }: { model: string; folder: string }): Promise<Gpt2Config> {
  if (folder === '') return namedShapes[model as ShapeName];
  if (/^[a-z]+:\/\//i.test(folder))
    throw new StageError(`'${folder}' is not a folder of this machine: download it first`);
  return refusingBadInput(() => readConfig(folder));
}

function remembering<T>(plan: (batch: number) => T): (batch: number) => T {
  const known = new Map<number, T>();
  return (batch) => {
    const found = known.get(batch) ?? plan(batch);
    known.set(batch, found);
    return found;
  };
}
