/** Runs once before the tests: makes the TensorFlow.js bundle that model/tf.ts imports. */
export default async function setup(): Promise<void> {
  const { bundleTfjs } = await import('../scripts/tfjs-bundle.mjs');
  await bundleTfjs();
}
