import { defineConfig } from 'vitest/config';

/** The tests that need a GPU: `npm run test:gpu`. One file at a time, since they measure the GPU's memory. */
export default defineConfig({
  test: {
    include: ['test/gpu/*.test.ts'],
    globalSetup: ['test/gpu/setup.ts'],
    server: { deps: { external: [/\/dist\/tfjs\.mjs$/] } },
    testTimeout: 120_000,
    hookTimeout: 600_000,
    fileParallelism: false,
  },
});
