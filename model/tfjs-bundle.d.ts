/** Types of dist/tfjs.mjs, which scripts/tfjs-bundle.mjs makes from @tensorflow/tfjs-core and its cpu and wasm backends. */
declare module '*/dist/tfjs.mjs' {
  export * from '@tensorflow/tfjs-core';
  /** Tells the wasm backend where its .wasm files lie. */
  export function locateWasm(): void;
}
