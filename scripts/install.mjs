/** Makes a checkout ready: the command, the bundles of TensorFlow.js and Vega, the native addon, and `pipe` for npx. `npm ci` runs it. */
import './node-version.mjs';
import { mkdir, readlink, rm, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { buildCommand } from './build.mjs';
import { buildNative } from './build-native.mjs';
import { bundleTfjs } from './tfjs-bundle.mjs';
import { bundleVega } from './vega-bundle.mjs';

const root = dirname(import.meta.dirname);

/**
 * Makes `npx pipe` this checkout's own command. npm links no bin of the package that it installs in, and npx would otherwise
 * ask the registry for a package of that name.
 */
async function linkCommand(command) {
  const folder = join(root, 'node_modules', '.bin');
  const link = join(folder, 'pipe');
  const target = relative(folder, command);
  await mkdir(folder, { recursive: true });
  if ((await readlink(link).catch(() => null)) === target) return;
  await rm(link, { force: true });
  await symlink(target, link);
}

const started = performance.now();
// The compiler is another process: it works while the bundles are made.
const native = buildNative();
const command = await buildCommand();
await Promise.all([bundleTfjs(), bundleVega()]);
await linkCommand(command);
const addon = await native;
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(
  `pipe: ready in ${seconds} s; ${'path' in addon ? 'native kernels built' : `no native kernels (${addon.unavailable}), TensorFlow.js wasm takes their place`}`,
);
