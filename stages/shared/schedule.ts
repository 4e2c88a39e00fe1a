/** The learning rate at each step: a linear warm-up, then a decay to a tenth. */

export const schedules = ['constant', 'linear', 'cosine'] as const;

export interface Schedule {
  readonly kind: (typeof schedules)[number];
  /** The highest learning rate. */
  readonly peak: number;
  /** All steps, warm-up included. */
  readonly steps: number;
  /** Steps of the warm-up; the peak is reached at its end. */
  readonly warmup: number;
}

/** The share of the peak that a decay ends at, at the last step. */
const floor = 0.1;

/** The learning rate of a step counted from 1. */
export function learningRate({ kind, peak, steps, warmup }: Schedule, step: number): number {
  if (step <= warmup) return (peak * step) / warmup;
  if (kind === 'constant') return peak;
  const passed = (step - warmup) / Math.max(1, steps - warmup);
  const left = kind === 'linear' ? 1 - passed : (1 + Math.cos(Math.PI * passed)) / 2;
  return peak * (floor + (1 - floor) * left);
}
