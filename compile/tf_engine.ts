/** Changes TF.js's backend, which is one for the whole process, for the time of one synchronous piece of work. */
import { tf } from '../model/tf.ts';

/** @returns the backend in use, or undefined if none has been chosen or started yet. */
export function currentBackend(): string | undefined {
  // TF.js types it as a string, but it is not set until a backend is.
  return (tf.engine().backendName as string | null | undefined) ?? undefined;
}

/**
 * Runs `work` on a backend that has been started, and puts the one that was in use back, whatever happens.
 * For a backend that has been started setBackend is done when it returns, for all that it returns a promise.
 */
export function onBackend<T>(backend: string, work: () => T): T {
  const before = currentBackend();
  if (before === backend) return work();
  void tf.setBackend(backend);
  try {
    return work();
  } finally {
    if (before !== undefined) void tf.setBackend(before);
  }
}
