/** TensorFlow.js, as the rest of the project sees it: the only file that loads the bundle. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import * as tf from '../dist/tfjs.mjs';

export type { KernelConfig, KernelFunc, NamedTensorMap, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
export { tf };

/** The TensorFlow.js backends that the composite kernels are registered for. */
export const tfBackends = ['cpu', 'wasm', 'tensorflow'] as const;
export type TfBackend = (typeof tfBackends)[number];

/** The packages that bring the `tensorflow` backend, the one with a GPU first. Never required: they are loaded if the user has them. */
const tensorflowPackages = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'] as const;

/**
 * Makes `backend` the one on which TensorFlow.js runs its kernels from now on. The engine is one for the whole process.
 * @throws Error as `startBackend`.
 */
export async function useBackend(backend: TfBackend): Promise<void> {
  await startBackend(backend);
  if (!(await tf.setBackend(backend)))
    throw new Error(`the TensorFlow.js backend '${backend}' did not start on this machine`);
}

const starting = new Map<TfBackend, Promise<void>>();

/**
 * Makes a backend ready, so that changing to it is done at once; the one in use stays.
 * @throws Error when the backend cannot start, or when `tensorflow` is asked for and none of its packages is installed.
 */
export function startBackend(backend: TfBackend): Promise<void> {
  let started = starting.get(backend);
  if (started === undefined) {
    started = backend === 'wasm' ? startWasm() : backend === 'tensorflow' ? loadTensorflow() : Promise.resolve();
    starting.set(backend, started);
  }
  return started;
}

/**
 * Starts wasm outside of the engine, then registers it as one that has been started: while a backend starts inside, the engine
 * refuses all work on every other one.
 */
async function startWasm(): Promise<void> {
  tf.locateWasm();
  const coming = tf.findBackendFactory('wasm')();
  // The engine outlives this module where that is loaded anew: wasm has been started then.
  if (!(coming instanceof Promise)) return;
  const started = await coming;
  tf.removeBackend('wasm');
  tf.registerBackend('wasm', () => started);
}

/** Loads the first installed package that registers the `tensorflow` backend with the shared engine. */
async function loadTensorflow(): Promise<void> {
  if (tf.findBackendFactory('tensorflow') != null) return;
  const { resolve } = createRequire(import.meta.url);
  for (const name of tensorflowPackages) {
    let path: string;
    try {
      path = resolve(name);
    } catch {
      continue;
    }
    await import(pathToFileURL(path).href);
    return;
  }
  throw new Error(
    `the TensorFlow.js backend 'tensorflow' needs one of ${tensorflowPackages.join(', ')}: run \`npm install ${tensorflowPackages[1]}\`, or use 'wasm' or 'cpu'`,
  );
}
