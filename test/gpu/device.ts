/** Whether these tests can run here: they need a GPU, and say why they are skipped where there is none. */
import { describe } from 'vitest';
import { loadAddon } from '../../native/addon.ts';

const loaded = loadAddon();
const unavailable = 'unavailable' in loaded ? loaded.unavailable : loaded.cudaUnavailable();
if (unavailable !== undefined) console.warn(`the GPU tests are skipped: ${unavailable}`);

/** A group of tests that need a GPU. */
export const onGpu = unavailable === undefined ? describe : describe.skip;
