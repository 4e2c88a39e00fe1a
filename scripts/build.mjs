/** Bundles the `pipe` command into dist/: pipe.mjs starts fast, each command is a chunk that is loaded when it is asked for. */
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { buildLauncher } from './build-launcher.mjs';

const root = dirname(import.meta.dirname);
const dist = join(root, 'dist');

/** Packages that go into the bundle: reading one file is faster than finding them in node_modules. */
const bundled = new Set(['commander', 'p-queue', 'eventemitter3', 'p-timeout']);

const plugin = {
  name: 'packages',
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, ({ path, kind }) =>
      kind === 'entry-point' || bundled.has(path) ? undefined : { path, external: true },
    );
  },
};

/**
 * Writes dist/pipe.mjs and its chunks. Files whose content is the same are left as they are; a file that changes is replaced by a
 * rename, and chunks of an earlier build are removed last, so a command that is running meanwhile finds whole files.
 * @returns {Promise<string>} the command's absolute path
 */
export async function buildCommand() {
  // The compiler is another process: it works meanwhile.
  const launcher = buildLauncher();
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: { pipe: 'cli/main.ts' },
    outdir: 'dist',
    outExtension: { '.js': '.mjs' },
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    plugins: [plugin],
    // Commander is CommonJS and asks for Node's own modules with `require`.
    banner: {
      js: "import { createRequire as pipeRequire } from 'node:module'; const require = pipeRequire(import.meta.url);",
    },
    logLevel: 'error',
  });
  await mkdir(join(dist, 'chunks'), { recursive: true });
  const isEntry = ({ path }) => path.endsWith('pipe.mjs');
  // The entry comes last: until then the old one finds its old chunks.
  for (const file of outputFiles.toSorted((a, b) => isEntry(a) - isEntry(b))) {
    await writeWhole(file.path, isEntry(file) ? `#!/usr/bin/env node\n${file.text}` : file.text);
  }
  const kept = new Set(outputFiles.map(({ path }) => relative(join(dist, 'chunks'), path)));
  for (const name of await readdir(join(dist, 'chunks'))) {
    if (!kept.has(name)) await rm(join(dist, 'chunks', name), { force: true });
  }
  const command = join(dist, 'pipe.mjs');
  await chmod(command, 0o755);
  await launcher;
  return command;
}

async function writeWhole(path, text) {
  const old = await readFile(path, 'utf8').catch(() => null);
  if (old === text) return;
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, text);
  await rename(temporary, path);
}
