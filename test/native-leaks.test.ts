/** A process lives through many tasks: what their programs took of memory is given back. */
import { expect, test } from 'vitest';
import { loadNative } from '../compile/native_executable.ts';
import { openAndClose } from './support/open_and_close.ts';

test('a thousand programs loaded, run and disposed of leave nothing behind', { timeout: 120_000 }, () => {
  const { grown, arenas } = openAndClose(
    {},
    (program, plan) => loadNative(program, plan, 2),
    () => process.memoryUsage.rss(),
  );
  expect(arenas).toBeGreaterThan(1e9);
  // JavaScript's own garbage comes and goes by tens of megabytes.
  expect(grown).toBeLessThan(0.05 * arenas);
});
