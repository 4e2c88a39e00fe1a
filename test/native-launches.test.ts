/** What no compiler checks of the CUDA kernels, and no run need show: one that is launched early waits before all else. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const folder = join(import.meta.dirname, '..', 'native', 'kernels', 'cuda');
const sources = readdirSync(folder).map((name) => ({ name, text: readFileSync(join(folder, name), 'utf8') }));

/** Kernels of a source: name, parameters, and how the body begins. */
function kernelsIn(text: string): { name: string; parameters: string; beginning: string }[] {
  // Asking for bytes to be brought into a cache reads none.
  const kernel =
    /__global__ void\s+(?:__launch_bounds__\([^()]*\)\s*)?(\w+)\(([^{]*)\)\s*\{\s*(?:fetch_\w+\([^;]*\);\s*)?([^;]*;)/g;
  return [...text.matchAll(kernel)].map(([, name, parameters, beginning]) => ({
    name: name!,
    parameters: parameters!,
    beginning: beginning!,
  }));
}

test('every kernel is read', () => {
  for (const { name, text } of sources)
    expect(kernelsIn(text), name).toHaveLength(text.match(/__global__ void/g)?.length ?? 0);
});

test('a kernel that takes a Former waits for it first, and only such a kernel does', () => {
  const kernels = sources.flatMap(({ text }) => kernelsIn(text));
  expect(kernels.length).toBeGreaterThan(30);
  for (const { name, parameters, beginning } of kernels)
    expect(/^Former former,/.test(parameters), name).toBe(beginning === 'former.wait();');
});
