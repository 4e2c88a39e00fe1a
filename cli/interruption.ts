/** Ctrl-C and its relatives, as an aborted signal. */

export interface Interruption {
  readonly signal: AbortSignal;
  /** Lets the process be interrupted as usual again. */
  end(): void;
}

/**
 * Turns the first Ctrl-C (or SIGTERM, SIGHUP) into an aborted signal: nothing new starts, and what runs is ended. The second ends
 * the process at once; workers end themselves when it is gone.
 */
export function interruptible(): Interruption {
  const controller = new AbortController();
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const interrupt = () => {
    if (controller.signal.aborted) process.exit();
    controller.abort();
  };
  for (const name of names) process.on(name, interrupt);
  return {
    signal: controller.signal,
    end: () => {
      for (const name of names) process.off(name, interrupt);
    },
  };
}
