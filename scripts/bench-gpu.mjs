/** Builds what bench/gpu.ts measures, bundles it, and runs it. */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { buildNative } from './build-native.mjs';
import { bundleTfjs } from './tfjs-bundle.mjs';

const root = dirname(import.meta.dirname);
// One folder below the root, like the sources that find the root from where they lie, and beside the TensorFlow.js bundle.
const outfile = join(root, 'dist', 'bench-gpu.mjs');

await mkdir(dirname(outfile), { recursive: true });
await Promise.all([bundleTfjs(), buildNative()]);
await build({
  absWorkingDir: root,
  entryPoints: ['bench/gpu.ts'],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  packages: 'external',
  external: ['../dist/tfjs.mjs'],
  logLevel: 'error',
});
const { main } = await import(pathToFileURL(outfile).href);
process.exitCode = main(process.argv.slice(2));
