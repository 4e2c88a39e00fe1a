/** Runs once before the tests: builds what `npm install` builds, of the present sources, so that no test waits for a compiler. */
export default async function setup(): Promise<void> {
  const { buildCommand } = await import('../scripts/build.mjs');
  const { buildNative } = await import('../scripts/build-native.mjs');
  const { bundleTfjs } = await import('../scripts/tfjs-bundle.mjs');
  const { bundleVega } = await import('../scripts/vega-bundle.mjs');
  // Without a compiler there is no addon: the tests that need it say so.
  await Promise.all([buildCommand(), bundleTfjs(), bundleVega(), buildNative()]);
}
