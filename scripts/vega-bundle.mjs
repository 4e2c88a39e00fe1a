/** Bundles vega-embed for the report's page into dist/vega-embed.mjs: a module whose default export is a script's text. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prebuilt } from './prebuilt.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Figures are compiled to Vega before they reach a page: the compiler of Vega-Lite need not come along. */
const withoutCompiler = {
  name: 'without-vega-lite',
  setup(build) {
    build.onResolve({ filter: /^vega-lite$/ }, () => ({ path: 'vega-lite', namespace: 'absent' }));
    build.onLoad({ filter: /.*/, namespace: 'absent' }, () => ({ contents: "export const version = '';" }));
  },
};

// What their licences ask of whoever hands them on.
const notice =
  '/*! Vega, vega-embed: (c) 2015-2023 University of Washington Interactive Data Lab, BSD-3-Clause. d3: (c) Mike Bostock, ISC. */';

/**
 * Makes dist/vega-embed.mjs unless it is there already.
 * @returns {Promise<string>} the file's absolute path.
 */
export function bundleVega() {
  const packages = ['vega', 'vega-embed', 'vega-interpreter'];
  return prebuilt('vega-embed.mjs', { packages, script: fileURLToPath(import.meta.url), make });
}

async function make() {
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    stdin: { contents: "export { default } from 'vega-embed';", resolveDir: root, loader: 'js' },
    bundle: true,
    write: false,
    minify: true,
    format: 'iife',
    globalName: 'vegaEmbed',
    platform: 'browser',
    target: 'es2022',
    legalComments: 'none',
    banner: { js: notice },
    plugins: [withoutCompiler],
    logLevel: 'error',
  });
  return `export default ${JSON.stringify(outputFiles[0].text)};\n`;
}
