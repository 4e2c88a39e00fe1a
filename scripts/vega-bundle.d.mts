/** Types of vega-bundle.mjs. */

/** Makes dist/vega-embed.mjs unless it is there and up to date. @returns the file's absolute path. */
export function bundleVega(): Promise<string>;
