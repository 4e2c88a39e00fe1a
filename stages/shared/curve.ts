/** A loss curve as CSV: one row a training step. */
import { writeFileSync } from 'node:fs';

/** One step. Losses in nats per token; `loss` is of the step's batch, before the step. */
export interface CurvePoint {
  readonly step: number;
  readonly loss: number;
  readonly learningRate: number;
  /** Global norm of the gradients before clipping. */
  readonly gradientNorm: number;
  /** Held-out loss after the step, where it was measured. */
  readonly validationLoss: number | null;
}

/** Writes a curve; numbers with six significant digits. */
export function writeCurve(path: string, points: readonly CurvePoint[]): void {
  const digits = (value: number) => String(Number(value.toPrecision(6)));
  const rows = points.map(({ step, loss, learningRate, gradientNorm, validationLoss }) =>
    [
      step,
      digits(loss),
      digits(learningRate),
      digits(gradientNorm),
      validationLoss === null ? '' : digits(validationLoss),
    ].join(),
  );
  writeFileSync(path, `${['step,loss,learning_rate,gradient_norm,validation_loss', ...rows].join('\n')}\n`);
}
