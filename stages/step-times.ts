/** Stage: reads what `time-steps` measured from the record of its task, where times stand apart from every artifact. */
import type { Ancestry } from '../engine/ancestry.ts';
import { defineStage, StageError } from '../engine/stage.ts';
import { readJson, writeJson } from '../model/json.ts';
import { machineMeasurement, type StepTimes, stepMeasurement, type TimedSteps } from './shared/step_times.ts';

export default defineStage({
  description: "Reads the times of training steps from time-steps' record.",
  params: {},
  inputs: {
    timed: { description: "time-steps' timed steps." },
    lineage: { lineage: true, description: 'Their record, which holds the times.' },
  },
  outputs: { times: { path: 'times.json', description: 'Seconds of every step, and the machine.' } },
  run({ inputs, outputs }) {
    const { bases, steps } = readJson(inputs.timed) as TimedSteps;
    const ancestry = readJson(inputs.lineage) as Ancestry;
    const record = ancestry.records.find(({ key }) => key === ancestry.inputs.timed);
    const measured = (name: string) => {
      const value = record?.measurements[name];
      if (value !== undefined) return value;
      throw new StageError(`the store keeps no "${name}" of the timed steps: time them again with \`--force\``);
    };
    const secondsOf = (base: string) =>
      Array.from({ length: steps }, (_, i) => Number(measured(stepMeasurement(base, i + 1))));
    const times: StepTimes = {
      machine: String(measured(machineMeasurement)),
      backend: String(measured('backend')),
      seconds: Object.fromEntries(bases.map((base) => [base, secondsOf(base)])),
    };
    writeJson(outputs.times, times);
  },
});
