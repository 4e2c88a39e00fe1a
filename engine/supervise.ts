/** Runs one job in a worker, and ends the worker when the job runs out of time or is cancelled. */
import type { Complaint, Job, Listener } from './protocol.ts';
import type { Worker } from './workers.ts';

/** @returns null when the job ended well in time. */
export async function supervised(
  worker: Worker,
  job: Job,
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
