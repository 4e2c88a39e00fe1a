/** Bundles TensorFlow.js (core with all gradients, the cpu and wasm backends) into dist/tfjs.mjs, the one module that model/tf.ts loads. */
import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const outfile = join(root, 'dist', 'tfjs.mjs');
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

/** Digest of what the bundle is made from: the packages' versions and this script. */
async function recipe() {
  const require = createRequire(import.meta.url);
  const versions = packages.map((name) => `${name}@${require(`${name}/package.json`).version}`);
  const script = await readFile(fileURLToPath(import.meta.url), 'utf8');
  return createHash('sha256')
    .update([...versions, script].join('\n'))
    .digest('hex');
}

/** The first bytes of the bundle that exists, or '' when there is none. */
async function firstBytes(length) {
  const file = await open(outfile).catch((error) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return '';
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/**
 * Makes dist/tfjs.mjs unless it is there and was made from the same versions by this script. Safe to call from several
 * processes at once: the file appears whole, by a rename.
 * @returns {Promise<string>} the bundle's absolute path.
 */
export async function bundleTfjs() {
  const stamp = `// ${await recipe()}\n`;
  if ((await firstBytes(stamp.length)) === stamp) return outfile;
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
  await mkdir(dirname(outfile), { recursive: true });
  const temporary = `${outfile}.${process.pid}`;
  await writeFile(temporary, stamp + outputFiles[0].text);
  await rename(temporary, outfile);
  return outfile;
}
