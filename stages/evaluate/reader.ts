/** Reads texts with a model and, where there is one, its reference: what of each token is measured, and last hidden states. */
import type { Executable } from '../../compile/program.ts';
import { hiddenStep, lossStep } from '../../model/steps.ts';
import { type Host, loadStep, rowPositions } from '../shared/executables.ts';
import type { FrozenModel } from '../shared/model_folder.ts';
import { openComparison } from './comparison.ts';
import type { Reading } from './teacher_forced.ts';

interface Rows {
  readonly batch: number;
  readonly length: number;
}

/** Reads a batch: tokens [batch, length], and the token that follows each, negative where it is not measured. */
export interface Reader {
  read(tokens: Int32Array, targets: Int32Array): Reading;
  dispose(): void;
}

/** Loads what a model, and a reference if there is one, are read with. */
export function openReader(
  { model, reference }: { readonly model: FrozenModel; readonly reference: FrozenModel | null },
  rows: Rows,
  host: Host,
): Promise<Reader> {
  return reference === null ? openAlone(model, rows, host) : openBeside(model, reference, rows, host);
}

/** Losses alone, for a model that is compared with none. */
async function openAlone(model: FrozenModel, rows: Rows, host: Host): Promise<Reader> {
  const program = await loadReading('loss step', lossStep, model, rows, host);
  return {
    read(tokens, targets) {
      program.write('tokens', tokens);
      program.write('targets', targets);
      program.run();
      const logProbs = program.read('logProbs') as Float32Array;
      const counted = logProbs.filter((_, row) => targets[row]! >= 0);
      return { measures: Array.from(counted, (logProb) => ({ logProb, compared: null })), hidden: null };
    },
    dispose: () => program.dispose(),
  };
}

/** A model and its reference, read by each and compared. One that is its own reference is read once. */
async function openBeside(model: FrozenModel, reference: FrozenModel, rows: Rows, host: Host): Promise<Reader> {
  const mine = await loadReading('hidden step', hiddenStep, model, rows, host);
  const theirs =
    reference === model ? mine : await loadReading("the reference's hidden step", hiddenStep, reference, rows, host);
  const comparison = await openComparison(model, reference, host);
  const programs = new Set([mine, theirs]);
  return {
    read(tokens, targets) {
      for (const program of programs) {
        program.write('tokens', tokens);
        program.run();
      }
      const hiddenOf = (program: Executable) => program.read('hidden') as Float32Array;
      const hidden = { model: hiddenOf(mine), reference: hiddenOf(theirs) };
      return { measures: comparison.compare(hidden, targets), hidden };
    },
    dispose() {
      for (const program of programs) program.dispose();
      comparison.dispose();
    },
  };
}

async function loadReading(
  name: string,
  step: typeof lossStep | typeof hiddenStep,
  model: FrozenModel,
  rows: Rows,
  host: Host,
): Promise<Executable> {
  const program = await loadStep(name, step({ ...model, ...rows }), host);
  model.writeTo(program);
  program.write('positions', rowPositions(rows.batch, rows.length));
  return program;
}
