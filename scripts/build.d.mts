/** Types of build.mjs. */

/** Bundles the `pipe` command. @returns the absolute path of dist/pipe.mjs. */
export function buildCommand(): Promise<string>;
