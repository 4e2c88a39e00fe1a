/** Runs once before the GPU's tests: builds the addon and the TensorFlow.js bundle, so that no test waits for a compiler. */
export default async function setup(): Promise<void> {
  const { buildNative } = await import('../../scripts/build-native.mjs');
  const { bundleTfjs } = await import('../../scripts/tfjs-bundle.mjs');
  const [addon] = await Promise.all([buildNative(), bundleTfjs()]);
  if ('unavailable' in addon) console.warn(addon.unavailable);
}
