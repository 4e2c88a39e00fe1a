/** The scripts of the page: vega-embed as it was bundled at installation, and the page's own, bundled from their sources. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, stop } from 'esbuild';
import vega from '../../dist/vega-embed.mjs';
import type { Scripts } from './page.ts';

/** Reads and bundles both. A script never ends its element early. */
export async function pageScripts(): Promise<Scripts> {
  const folder = fileURLToPath(new URL('./browser/', import.meta.url));
  const { outputFiles } = await build({
    entryPoints: [join(folder, 'main.ts')],
    bundle: true,
    write: false,
    minify: true,
    format: 'iife',
    platform: 'browser',
    target: 'es2022',
    tsconfigRaw: '{}',
    charset: 'utf8',
    logLevel: 'silent',
  });
  // Its process would outlive the task otherwise.
  await stop();
  return { vega: inElement(vega), own: inElement(outputFiles[0]!.text) };
}

function inElement(script: string): string {
  return script.replaceAll('</script', '<\\/script').replaceAll('<!--', '<\\!--');
}
