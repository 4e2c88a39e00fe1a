/** The training loop that `train` and `pretrain` share: batches in, steps of a loaded program, a curve out. */
import { setImmediate } from 'node:timers/promises';
import type { Executable } from '../../compile/program.ts';
import { StageError } from '../../engine/stage.ts';
import type { Batch } from '../../model/batches.ts';
import type { AdamW } from '../../model/optimizer.ts';
import type { CurvePoint } from './curve.ts';
import type { HeldOut } from './held_out.ts';
import { learningRate, type Schedule } from './schedule.ts';

export interface TrainingRun {
  /** A program of `loraTrainingStep` or `pretrainingStep`, its states and positions written. */
  readonly program: Executable;
  readonly batches: Iterator<Batch, unknown>;
  readonly schedule: Schedule;
  /** Held-out loss is measured after every so many steps and after the last. */
  readonly evaluateEvery: number;
  readonly heldOut: HeldOut;
  readonly context: {
    readonly signal: AbortSignal;
    log(line: string): void;
    progress(done: number, total: number): void;
    measure(name: string, value: number): void;
  };
}

/** The parameters of AdamW that both stages take. */
export interface AdamWOptions {
  readonly weight_decay: number;
  readonly max_grad_norm: number;
}

/** AdamW as both stages set it up: beta1 and epsilon are those of the paper (Kingma and Ba 2015, algorithm 1). */
export function adamW({ weight_decay, max_grad_norm }: AdamWOptions, beta2: number): AdamW {
  return { beta1: 0.9, beta2, epsilon: 1e-8, weightDecay: weight_decay, maxNorm: max_grad_norm };
}

/**
 * Runs every step of the schedule.
 * @throws StageError when the loss stops being a number.
 */
export async function runTraining(run: TrainingRun): Promise<CurvePoint[]> {
  const { program, schedule, context } = run;
  const takesStep = program.program.buffers.some(({ name, role }) => name === 'step' && role === 'input');
  const curve: CurvePoint[] = [];
  let seconds = 0;
  for (let step = 1; step <= schedule.steps; step++) {
    const { tokens, targets } = run.batches.next().value as Batch;
    const rate = learningRate(schedule, step);
    program.write('tokens', tokens);
    program.write('targets', targets);
    program.write('hyper', Float32Array.of(rate, step));
    if (takesStep) program.write('step', Int32Array.of(step));
    const started = performance.now();
    program.run();
    // On a GPU it is reading that waits for the step to be done.
    const [loss, gradientNorm] = [program.read('loss')[0]!, program.read('norm')[0]!];
    seconds += (performance.now() - started) / 1000;
    if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm)) {
      throw new StageError(
        `the loss is ${loss} and the gradient's norm ${gradientNorm} at step ${step}: lower lr (${schedule.peak}), or look at the data and the base for what is not a number`,
      );
    }
    const measured = step % run.evaluateEvery === 0 || step === schedule.steps;
    const validationLoss = measured ? run.heldOut.loss() : null;
    curve.push({ step, loss, learningRate: rate, gradientNorm, validationLoss });
    if (validationLoss !== null) {
      context.log(
        `step ${step}: loss ${loss.toFixed(4)}, held-out ${validationLoss.toFixed(4)}, lr ${rate.toPrecision(3)}`,
      );
    }
    context.progress(step, schedule.steps);
    // Lets the progress out and a cancellation in.
    await setImmediate();
    context.signal.throwIfAborted();
  }
  context.measure('seconds per step', seconds / schedule.steps);
  return curve;
}
