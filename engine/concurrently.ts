/** Asynchronous work on many items, on a few at a time: files to digest, above all. */
import { availableParallelism } from 'node:os';

/**
 * Begins asynchronous work on items in their order, on as many at a time as there are cores.
 * @throws what was thrown first, when nothing is at work any more; nothing is begun after it.
 */
export async function concurrently<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const left = items[Symbol.iterator]();
  let failure: { readonly thrown: unknown } | null = null;
  async function lane(): Promise<void> {
    for (let next = left.next(); next.done !== true && failure === null; next = left.next()) {
      try {
        await work(next.value);
      } catch (thrown) {
        failure ??= { thrown };
      }
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, lane));
  if (failure !== null) throw (failure as { readonly thrown: unknown }).thrown;
}
