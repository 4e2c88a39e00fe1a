/** Runs once before the tests: builds the `pipe` command that tests run, and the TensorFlow.js bundle that model/tf.ts imports. */
export default async function setup(): Promise<void> {
  const { buildCommand } = await import('../scripts/build.mjs');
  const { bundleTfjs } = await import('../scripts/tfjs-bundle.mjs');
  await Promise.all([buildCommand(), bundleTfjs()]);
}
