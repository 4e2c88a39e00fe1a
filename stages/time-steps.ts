/** Stage: how long a training step takes on each of several bases, in turns on one machine. Times are measurements of its record; its artifact says what was timed. */
import { cpus } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { openGpu } from '../compile/gpu.ts';
import type { Executable } from '../compile/program.ts';
import { defineStage } from '../engine/stage.ts';
import { batches } from '../model/batches.ts';
import { readDataset } from '../model/dataset.ts';
import { writeJson } from '../model/json.ts';
import { axisText } from './compare/inputs.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { rowLength } from './shared/examples.ts';
import type { Host } from './shared/executables.ts';
import { loadLoraTraining } from './shared/lora_training.ts';
import { readModel, refuseOtherVocabulary } from './shared/model_folder.ts';
import { machineMeasurement, stepMeasurement, type TimedSteps } from './shared/step_times.ts';
import { parseTargets } from './shared/targets.ts';
import { adamW } from './shared/training.ts';

function machineText({ device, cpus: threads }: Pick<Host, 'device' | 'cpus'>): string {
  const gpu = device === 'cuda' ? openGpu() : null;
  if (gpu !== null && 'name' in gpu) return gpu.name;
  const processor = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `${processor}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
}

export default defineStage({
  description: 'Times a training step on several bases, in turns, on the machine at hand.',
  accelerated: true,
  params: {
    targets: { type: 'string', default: 'q+v', description: 'As in train.' },
    rank: { type: 'integer', minimum: 1, default: 8, description: 'Rank of each adapter.' },
    batch: { type: 'integer', minimum: 1, default: 4, description: 'Examples a step.' },
    steps: { type: 'integer', minimum: 1, default: 10, description: 'Timed steps on each base.' },
    warmup: { type: 'integer', minimum: 0, default: 2, description: 'Steps before them that are not timed.' },
    axis: { type: 'string', default: 'precision', description: 'The axis that names a base.' },
  },
  inputs: {
    bases: { many: true, description: 'Checkpoint folders.' },
    data: { description: 'Tokenized instruction records (stage tokenize).' },
  },
  outputs: { timed: { path: 'timed.json', description: 'The bases, and how many steps of each were timed.' } },
  async run(context) {
    const { params, inputs, outputs, progress, signal, measure } = context;
    const data = await refusingBadInput(() => readDataset(inputs.data));
    const lora = { rank: params.rank, alpha: 2 * params.rank, targets: parseTargets(params.targets) };
    const programs: { readonly name: string; readonly program: Executable }[] = [];
    const { train } = data.splits;
    let length = 0;
    for (const { path, axes } of inputs.bases) {
      const base = await refusingBadInput(() => readModel(path));
      refuseOtherVocabulary(base, data.meta);
      length = rowLength([train], base.config.contextLength);
      const adamw = adamW({ weight_decay: 0, max_grad_norm: 1 }, 0.999);
      const options = {
        lora,
        dropout: { rate: 0, seed: 0 },
        adamw,
        batch: params.batch,
        length,
        init: 0,
        rematerialize: 'none' as const,
      };
      programs.push({
        name: axisText(axes[params.axis] ?? path),
        program: await loadLoraTraining(base, options, context),
      });
    }
    const stream = batches(train, { batch: params.batch, length, seed: 0 });
    const rounds = params.warmup + params.steps;
    for (let round = 1; round <= rounds; round++) {
      const { tokens, targets } = stream.next().value;
      // Every other round in reverse, so that none is always the first.
      for (const { name, program } of round % 2 === 0 ? programs.toReversed() : programs) {
        program.write('tokens', tokens);
        program.write('targets', targets);
        program.write('hyper', Float32Array.of(1e-4, round));
        const started = performance.now();
        program.run();
        program.read('loss');
        const step = round - params.warmup;
        if (step > 0) measure(stepMeasurement(name, step), (performance.now() - started) / 1000);
      }
      progress(round, rounds);
      await setImmediate();
      signal.throwIfAborted();
    }
    for (const { program } of programs) program.dispose();
    measure(machineMeasurement, machineText(context));
    const timed: TimedSteps = { format: 2, bases: programs.map(({ name }) => name), steps: params.steps };
    writeJson(outputs.timed, timed);
  },
});
