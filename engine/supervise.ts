/** Runs one job in a process, and ends the process when the job runs out of time or is cancelled. */
import type { Complaint, Job, Listener } from './protocol.ts';

/** A process that runs one job at a time. */
export interface Runner<J extends Job> {
  readonly pid: number;
  /** The file that all output of jobs goes to; emptied when one begins. */
  readonly log: string;
  readonly isAlive: boolean;
  /** Runs one job. Resolves with null when it finished, else with the complaint; a process that died is one. */
  run(job: J, listener: Listener): Promise<Complaint | null>;
  /** Asks the running job to end, and ends all that it started if it does not. */
  cancel(): void;
  /** Ends the process. Resolves when it is gone. */
  stop(): Promise<void>;
}

/** @returns null when the job ended well in time. */
export async function supervised<J extends Job>(
  worker: Runner<J>,
  job: J,
  listener: Listener,
  timeoutSeconds: number | null,
  signal: AbortSignal,
): Promise<Complaint | null> {
  let timedOut = false;
  const cancel = () => worker.cancel();
  signal.addEventListener('abort', cancel);
  const timer =
    timeoutSeconds === null
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          worker.cancel();
        }, timeoutSeconds * 1000);
  try {
    if (signal.aborted) cancel();
    const complaint = await worker.run(job, listener);
    if (!timedOut && !signal.aborted) return complaint;
    // It may have ended in time to answer: whatever it started goes with it.
    await worker.stop();
    return timedOut
      ? { kind: 'timeout', message: `it took longer than its timeout of ${timeoutSeconds} s` }
      : { kind: 'crash', message: 'it was cancelled' };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', cancel);
  }
}
