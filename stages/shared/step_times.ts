/** Times of training steps: by what names `time-steps` measures them, and what `step-times` reads of its record. */

/** What was timed, as `time-steps` writes it: it is the same in every run, since the times are in the record. */
export interface TimedSteps {
  readonly format: 2;
  /** The bases, by the values of the axis that names them. */
  readonly bases: readonly string[];
  readonly steps: number;
}

/** What the record says. */
export interface StepTimes {
  /** Processor and threads, or the GPU; and what computed. */
  readonly machine: string;
  readonly backend: string;
  /** Seconds of each timed step, round by round, by the base's name. */
  readonly seconds: Readonly<Record<string, readonly number[]>>;
}

/** The name of the measurement that holds the seconds of a base's step, counted from 1. */
export function stepMeasurement(base: string, step: number): string {
  return `${base}: seconds of step ${step}`;
}

/** The name of the measurement that says what steps were timed on. */
export const machineMeasurement = 'machine';
