/** The held-out loss of a model while it is being trained. */
import type { Executable } from '../../compile/program.ts';
import type { Batch } from '../../model/batches.ts';
import type { Step } from '../../model/scope.ts';
import { type Host, loadStep, rowPositions } from './executables.ts';

interface HeldOutOptions {
  /** A `lossStep` of the trained model's sizes. */
  readonly step: Step;
  readonly batch: number;
  readonly length: number;
  readonly batches: readonly Batch[];
  /** The program that trains, and the names of the states that it trains. */
  readonly training: Executable;
  readonly trained: readonly string[];
  /** Writes what is not trained. */
  writeFrozen(program: Executable): void;
}

/** A held-out measurement, and the memory behind it. */
export interface HeldOut {
  /** The mean loss of the present states over every target of the batches, in nats per token. */
  loss(): number;
  dispose(): void;
}

/** Loads the program that measures. It has its own copy of the weights: training's own buffers are in use by training. */
export async function openHeldOut(options: HeldOutOptions, host: Host): Promise<HeldOut> {
  const { step, batch, length, batches, training, trained } = options;
  const program = await loadStep('loss step', step, host);
  options.writeFrozen(program);
  program.write('positions', rowPositions(batch, length));
  return {
    loss() {
      for (const name of trained) program.write(name, training.read(name));
      return meanLoss(program, batches);
    },
    dispose: () => program.dispose(),
  };
}

function meanLoss(program: Executable, batches: readonly Batch[]): number {
  let sum = 0;
  let count = 0;
  for (const { tokens, targets } of batches) {
    program.write('tokens', tokens);
    program.write('targets', targets);
    program.run();
    const logProbs = program.read('logProbs');
    targets.forEach((target, i) => {
      if (target < 0) return;
      sum -= logProbs[i]!;
      count++;
    });
  }
  return sum / count;
}
