/** TensorFlow.js, as the rest of the project sees it: the only file that loads the bundle. */
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
 * @throws Error when the backend cannot start, or when `tensorflow` is asked for and none of its packages is installed.
 */
export async function useBackend(backend: TfBackend): Promise<void> {
  if (backend === 'wasm') tf.locateWasm();
  if (backend === 'tensorflow' && tf.findBackendFactory('tensorflow') == null) await loadTensorflow();
  if (!(await tf.setBackend(backend)))
    throw new Error(`the TensorFlow.js backend '${backend}' did not start on this machine`);
}

/** Loads the first installed package that registers the `tensorflow` backend with the shared engine. */
async function loadTensorflow(): Promise<void> {
  for (const name of tensorflowPackages) {
    try {
      await import(name);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    }
  }
  throw new Error(
    `the TensorFlow.js backend 'tensorflow' needs one of ${tensorflowPackages.join(', ')}: run \`npm install ${tensorflowPackages[1]}\`, or use 'wasm' or 'cpu'`,
  );
}
