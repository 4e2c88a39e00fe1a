/** Stage: finds the largest batch of each configuration that a memory holds, by planning, exactly and without a GPU. */
import { writeFileSync } from 'node:fs';
import { plannedPeak } from '../compile/memory.ts';
import { type Rematerialization, rematerializations } from '../compile/passes/rematerialize.ts';
import { defineStage, StageError } from '../engine/stage.ts';
import { readConfig } from '../model/checkpoint.ts';
import type { Gpt2Config } from '../model/config.ts';
import { namedShapes, type ShapeName, shapeNames } from '../model/shapes.ts';
import { lossStep } from '../model/steps.ts';
import type { Fits, Footprint } from './fit/fits.ts';
import { largestWithin } from './fit/largest.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { type PlannedTraining, type Precision, plannedTraining, storages } from './shared/planned_training.ts';
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
      const takes = remembering((batch) => footprint({ config, targets, length, batch, ...one }, one.rematerialize));
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

/** What `train` takes on a GPU: its program's arena, and that of the program that measures the held-out loss meanwhile. */
function footprint(training: PlannedTraining, rematerialize: Rematerialization): Footprint {
  const { config, precision, targets, rank, batch, length } = training;
  const step = lossStep({
    config,
    matrices: () => storages[precision],
    lora: { rank, alpha: rank, targets },
    batch,
    length,
  });
  const trains = plannedTraining(training, { gpu: 'bf16', rematerialize }).total;
  const measures = plannedPeak('loss step', step, { gpu: 'bf16' }).total;
  return { training: trains, heldOut: measures, total: trains + measures };
}

function remembering<T>(plan: (batch: number) => T): (batch: number) => T {
  const known = new Map<number, T>();
  return (batch) => {
    const found = known.get(batch) ?? plan(batch);
    known.set(batch, found);
    return found;
  };
}
