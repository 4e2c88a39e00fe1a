/** Builds what the benchmarks measure, bundles bench/main.ts, and runs it. */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { buildCommand } from './build.mjs';
import { buildNative } from './build-native.mjs';
import { bundleTfjs } from './tfjs-bundle.mjs';

const root = dirname(import.meta.dirname);
// One folder below the root, like the sources that find the root from where they lie, and beside the TensorFlow.js bundle.
const outfile = join(root, 'dist', 'bench.mjs');

await mkdir(dirname(outfile), { recursive: true });
const [addon] = await Promise.all([buildNative(), buildCommand(), bundleTfjs()]);
// In full: a table has room for one line of it.
if ('unavailable' in addon) console.error(addon.unavailable);
await build({
  absWorkingDir: root,
  entryPoints: ['bench/main.ts'],
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
process.exitCode = await main(process.argv.slice(2));
