import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/gpu/**'],
    globalSetup: ['test/global-setup.ts'],
    // The bundle is plain ESM of 1.3 MB: Node loads it faster than Vite transforms it.
    server: { deps: { external: [/\/dist\/tfjs\.mjs$/] } },
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Vitest's own bound is a second, in which a busy machine may not start a process.
    expect: { poll: { timeout: 30_000 } },
    maxWorkers: 2,
  },
});
