/** Bundles TensorFlow.js (core with all gradients, the cpu and wasm backends) into dist/tfjs.mjs, the one module that model/tf.ts loads. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prebuilt } from './prebuilt.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const packages = ['core', 'backend-cpu', 'backend-wasm'].map((name) => `@tensorflow/tfjs-${name}`);

// tfjs-core's own Node entry registers no gradients, and the file that does imports in plain Node neither as ESM nor as
// CommonJS; the `module` entries are what the bundler can follow.
const entry = `
  import '@tensorflow/tfjs-core/dist/register_all_gradients';
  import '@tensorflow/tfjs-backend-cpu';
  import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
  import { env } from '@tensorflow/tfjs-core';
  import { createRequire } from 'node:module';
  import { dirname, join, sep } from 'node:path';
  export * from '@tensorflow/tfjs-core';
  // Silences TensorFlow.js's advertisement for its Node package.
  env().set('PROD', true);
  let located = false;
  /** Tells the wasm backend where its .wasm files lie: they stay in the package, and are read when the backend starts. */
  export function locateWasm() {
    if (located) return; // the backend refuses to be told again once it runs
    located = true;
    const manifest = createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/package.json');
    setWasmPaths(join(dirname(manifest), 'dist') + sep);
  }
`;

// The wasm backend's loader is CommonJS made for Node: it asks for `require`, `__dirname` and `__filename`.
const prelude = `
import { createRequire as pipeCreateRequire } from 'node:module';
import { fileURLToPath as pipeFileURLToPath } from 'node:url';
const require = pipeCreateRequire(import.meta.url);
const __filename = pipeFileURLToPath(import.meta.url);
const __dirname = pipeFileURLToPath(new URL('.', import.meta.url));
`;

/**
 * Makes dist/tfjs.mjs unless it is there already.
 * @returns {Promise<string>} the bundle's absolute path.
 */
export function bundleTfjs() {
  return prebuilt('tfjs.mjs', { packages, script: fileURLToPath(import.meta.url), make });
}

async function make() {
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    stdin: { contents: entry, resolveDir: root, loader: 'js' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    mainFields: ['module', 'main'],
    banner: { js: prelude },
    // Only reached through platform.fetch, which nothing here calls: Node has its own.
    external: ['node-fetch'],
    logLevel: 'error',
  });
  return outputFiles[0].text;
}
