/** The loss of a loaded `lossStep` program over held-out batches. */
import type { Executable } from '../../compile/program.ts';
import type { Batch } from '../../model/batches.ts';

/** The mean loss over every target of the batches, in nats per token. */
export function meanLoss(program: Executable, batches: Iterable<Batch>): number {
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
