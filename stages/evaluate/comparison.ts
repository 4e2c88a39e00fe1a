/** Compares two models' last hidden states token by token: both output layers, and all that is told of their logits. */
import { comparedColumns } from '../../model/kernels/compare_logits.ts';
import { comparisonStep } from '../../model/steps.ts';
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

/** A model by its output layer: `writeTo` writes its table. */
type Head = Pick<FrozenModel, 'config' | 'writeTo'>;

/** Loads the program that compares two models, which may be one and the same; five numbers a token come back. */
export async function openComparison(model: Head, reference: Head, host: Host): Promise<Comparison> {
  const step = comparisonStep({ rows, config: model.config, reference: reference.config });
  const program = await loadStep('comparison step', step, host);
  model.writeTo(program);
  reference.writeTo(program, 'reference.');
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
        program.write('hidden', chunk.model);
        program.write('reference.hidden', chunk.reference);
        program.write('targets', chunk.targets);
        program.run();
        const compared = program.read('compared') as Float32Array;
        for (let i = 0; i < taken.length; i++) measures.push(measuresIn(compared, i));
      }
      return measures;
    },
    dispose: () => program.dispose(),
  };
}

function measuresIn(compared: Float32Array, row: number): TokenMeasures {
  const of = (column: (typeof comparedColumns)[number]) =>
    compared[row * comparedColumns.length + comparedColumns.indexOf(column)]!;
  const agrees = of('top') === of('referenceTop');
  return { logProb: of('logProb'), compared: { agrees, margin: of('referenceMargin'), kl: of('kl') } };
}
