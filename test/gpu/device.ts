/** Whether these tests can run here: they need a GPU, and say why they are skipped where there is none. */
import { describe } from 'vitest';
import { loadAddon } from '../../native/addon.ts';

const loaded = loadAddon();

/** Why no GPU can be used, if so. */
export const gpuUnavailable = 'unavailable' in loaded ? loaded.unavailable : loaded.cudaUnavailable();
if (gpuUnavailable !== undefined) console.warn(`the GPU tests are skipped: ${gpuUnavailable}`);

/** A group of tests that need a GPU. */
export const onGpu = gpuUnavailable === undefined ? describe : describe.skip;
