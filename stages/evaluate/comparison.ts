/** Compares two models' last hidden states token by token: both output layers, and all that is told of their logits. */
import { comparedColumns } from '../../model/kernels/compare_logits.ts';
import { comparisonStep, headStep, logitsComparisonStep } from '../../model/steps.ts';
import { type Host, loadStep } from '../shared/executables.ts';
import type { FrozenModel } from '../shared/model_folder.ts';
import type { HiddenPair, TokenMeasures } from './teacher_forced.ts';

/** Tokens whose logits exist at a time, as in the loss. */
const rows = 64;

export interface Comparison {
  /**
   * @param targets int32 [N]: the token that follows; negative where nothing is told.
   * @returns the measures of each row that has a target, in order.
   */
  compare(hidden: HiddenPair, targets: Int32Array): TokenMeasures[];
  dispose(): void;
}

/** One chunk: hidden states [rows, C] of both, and targets [rows], become [rows, 5]. */
interface ChunkProgram {
  run(hidden: HiddenPair, targets: Int32Array): Float32Array;
  dispose(): void;
}

/** A model by its output layer: `writeTo` writes its table. */
type Head = Pick<FrozenModel, 'config' | 'writeTo'>;

/** Loads what compares two models, which may be one and the same: on the CPU one program, from which five numbers a token come back. */
export async function openComparison(model: Head, reference: Head, host: Host): Promise<Comparison> {
  if (host.device === 'cuda') return openComparisonInParts(model, reference, host);
  return inChunks(model, reference, await loadWhole(model, reference, host));
}

/**
 * The same where a device has no kernel that compares logits, which is the CPU's alone: output layers run on the device, and the
 * logits of a chunk come back to be compared here.
 */
export async function openComparisonInParts(model: Head, reference: Head, host: Host): Promise<Comparison> {
  return inChunks(model, reference, await loadParts(model, reference, host));
}

function inChunks(model: Head, reference: Head, program: ChunkProgram): Comparison {
  const chunk = {
    model: new Float32Array(rows * model.config.width),
    reference: new Float32Array(rows * reference.config.width),
    targets: new Int32Array(rows),
  };
  return {
    compare(hidden, targets) {
      const counted = [...targets.keys()].filter((row) => targets[row]! >= 0);
      const measures: TokenMeasures[] = [];
      for (let first = 0; first < counted.length; first += rows) {
        const taken = counted.slice(first, first + rows);
        chunk.targets.fill(-1);
        taken.forEach((row, i) => {
          chunk.targets[i] = targets[row]!;
          for (const side of ['model', 'reference'] as const) {
            const width = chunk[side].length / rows;
            chunk[side].set(hidden[side].subarray(row * width, (row + 1) * width), i * width);
          }
        });
        const compared = program.run(chunk, chunk.targets);
        for (let i = 0; i < taken.length; i++) measures.push(measuresIn(compared, i));
      }
      return measures;
    },
    dispose: program.dispose,
  };
}

function measuresIn(compared: Float32Array, row: number): TokenMeasures {
  const of = (column: (typeof comparedColumns)[number]) =>
    compared[row * comparedColumns.length + comparedColumns.indexOf(column)]!;
  const agrees = of('top') === of('referenceTop');
  return { logProb: of('logProb'), compared: { agrees, margin: of('referenceMargin'), kl: of('kl') } };
}

async function loadWhole(model: Head, reference: Head, host: Host): Promise<ChunkProgram> {
  const step = comparisonStep({ rows, config: model.config, reference: reference.config });
  const program = await loadStep('comparison step', step, host);
  model.writeTo(program);
  reference.writeTo(program, 'reference.');
  return {
    run(hidden, targets) {
      program.write('hidden', hidden.model);
      program.write('reference.hidden', hidden.reference);
      program.write('targets', targets);
      program.run();
      return program.read('compared') as Float32Array;
    },
    dispose: () => program.dispose(),
  };
}

async function loadParts(model: Head, reference: Head, host: Host): Promise<ChunkProgram> {
  const mine = await loadHead('output layer', model, host);
  const theirs = await loadHead("the reference's output layer", reference, host);
  const { vocabSize } = model.config;
  // What the record says of a backend and of memory is said of the GPU's programs.
  const onCpu: Host = { cpus: host.cpus, device: 'cpu', warn: host.warn, measure: () => {} };
  const program = await loadStep('comparison step', logitsComparisonStep({ rows, vocabSize }), onCpu);
  return {
    run(hidden, targets) {
      mine.start(hidden.model);
      theirs.start(hidden.reference);
      program.write('logits', mine.logits());
      program.write('reference.logits', theirs.logits());
      program.write('targets', targets);
      program.run();
      return program.read('compared') as Float32Array;
    },
    dispose() {
      for (const part of [mine, theirs, program]) part.dispose();
    },
  };
}

async function loadHead(name: string, model: Head, host: Host) {
  const program = await loadStep(name, headStep({ rows, config: model.config }), host);
  model.writeTo(program);
  return {
    start(hidden: Float32Array): void {
      program.write('hidden', hidden);
      program.run();
    },
    logits: () => program.read('logits') as Float32Array,
    dispose: () => program.dispose(),
  };
}
