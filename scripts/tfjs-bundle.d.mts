/** Types of tfjs-bundle.mjs. */

/** Makes dist/tfjs.mjs unless it is there and up to date. @returns the bundle's absolute path. */
export function bundleTfjs(): Promise<string>;
