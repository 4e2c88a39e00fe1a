/** Bundles one module with esbuild and tells what went into it: local files in normal form, packages, assets. */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, extname, join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { BuildFailure, Loader, OnLoadResult, PluginBuild } from 'esbuild';
import { sha256 } from './digest.ts';
import { UsageError } from './errors.ts';
import { nearestFolder } from './project.ts';
import type { Digest } from './record.ts';

/** An npm package that a module reaches: `folder` is where it is installed, null when it is not. */
export interface Reached {
  readonly name: string;
  readonly folder: string | null;
}

export interface Bundle {
  /** JavaScript that runs from any folder. */
  readonly text: string;
  /** Absolute path of every local source file -> digest of its normal form. */
  readonly sources: ReadonlyMap<string, Digest>;
  /** Absolute paths of local files and folders used as they are: prebuilt libraries and what `new URL(…, import.meta.url)` names. */
  readonly assets: ReadonlySet<string>;
  readonly packages: readonly Reached[];
}

const loaders: Readonly<Record<string, Loader>> = {
  '.ts': 'ts',
  '.mts': 'ts',
  '.js': 'js',
  '.mjs': 'js',
  '.json': 'json',
};

// The project's tsconfig.json is left out on purpose: keys must not depend on it.
const common = { target: 'node20', tsconfigRaw: '{}', logLevel: 'silent', legalComments: 'none' } as const;

/** Bundles modules; what several of them import is brought into normal form once. */
export interface Bundler {
  bundle(module: string): Promise<Bundle>;
}

/** @param stageContract the file that `import … from 'pipe/stage'` means. */
export function openBundler(stageContract: string): Bundler {
  const normalForms = new Map<string, Promise<string>>();
  return { bundle: (module) => bundleModule(module, stageContract, normalForms) };
}

/**
 * Bundles a module and all that it imports from local files; npm packages and prebuilt libraries (files in a folder
 * `dist`) stay imports, by absolute address. In the bundle, `import.meta.url`, `dirname` and `filename` mean the
 * original source file.
 * @param normalForms path and content digest -> normal form, shared between modules.
 * @throws UsageError with esbuild's message when a file does not parse or an import is not found.
 */
async function bundleModule(
  module: string,
  stageContract: string,
  normalForms: Map<string, Promise<string>>,
): Promise<Bundle> {
  const esbuild = await import('esbuild');
  const sources = new Map<string, Digest>();
  const assets = new Set<string>();
  const packages = new Map<string, Reached>();

  async function load(path: string): Promise<OnLoadResult> {
    const extension = extname(path);
    const loader = loaders[extension];
    if (loader === undefined) throw new Error(`${path}: a stage can import .ts, .mts, .js, .mjs and .json files`);
    const contents = readFileSync(path, 'utf8');
    if (loader === 'json') {
      sources.set(path, sha256(JSON.stringify(JSON.parse(contents))));
      return { contents, loader };
    }
    const id = `${path}\0${sha256(contents)}`;
    let pending = normalForms.get(id);
    if (pending === undefined) {
      // Types, comments and layout are gone; names and everything else are as written.
      pending = esbuild
        .transform(contents, { ...common, loader, minifyWhitespace: true, sourcefile: path })
        .then(({ code }) => code);
      normalForms.set(id, pending);
    }
    const normal = await pending;
    sources.set(path, sha256(normal));
    if (!normal.includes('import.meta')) return { contents, loader };
    for (const [, literal] of normal.matchAll(/new URL\(("(?:[^"\\]|\\.)*"),import\.meta\.url\)/g)) {
      const asset = new URL(JSON.parse(literal!) as string, pathToFileURL(path));
      if (asset.protocol === 'file:' && isAsset(fileURLToPath(asset), path)) assets.add(fileURLToPath(asset));
    }
    const placed = await esbuild.transform(contents, {
      ...common,
      loader,
      sourcefile: path,
      sourcemap: 'inline',
      define: {
        'import.meta.url': JSON.stringify(pathToFileURL(path).href),
        'import.meta.dirname': JSON.stringify(dirname(path)),
        'import.meta.filename': JSON.stringify(path),
      },
    });
    return { contents: placed.code, loader: 'js' };
  }

  function setup(build: PluginBuild): void {
    build.onResolve({ filter: /^pipe\/stage$/ }, () => ({ path: stageContract }));
    build.onResolve({ filter: /.*/ }, async (args) => {
      if (args.pluginData === 'resolving' || args.kind === 'entry-point') return undefined;
      if (args.path.startsWith('node:')) return { external: true };
      const { importer, resolveDir, kind, path } = args;
      const isLocal = /^(\.{0,2}\/|\.{1,2}$)/.test(path);
      const found = await build.resolve(path, { importer, resolveDir, kind, pluginData: 'resolving' });
      if (found.errors.length > 0) {
        if (isLocal) return { errors: found.errors };
        const name = packageName(path);
        if (kind === 'import-statement') {
          return { errors: [{ text: `The package "${name}" is not installed: npm install ${name}` }] };
        }
        // Perhaps an optional package behind a guarded `import()`: absent now, and its coming makes the code another.
        packages.set(name, { name, folder: null });
        return { path, external: true };
      }
      if (found.external || found.namespace !== 'file') return found;
      const real = realpathSync(found.path);
      if (real.includes(`${sep}node_modules${sep}`)) {
        for (const reached of installed(real)) packages.set(reached.folder ?? reached.name, reached);
        return { path: pathToFileURL(real).href, external: true };
      }
      if (isPrebuilt(real)) {
        assets.add(real);
        // The digest in the address: a rebuilt library is another module, the same one is loaded once.
        return { path: `${pathToFileURL(real).href}?v=${sha256(readFileSync(real)).slice(0, 16)}`, external: true };
      }
      return { path: real };
    });
    build.onLoad({ filter: /.*/, namespace: 'file' }, async ({ path }) => {
      try {
        return await load(path);
      } catch (thrown) {
        const failure = thrown as Partial<BuildFailure>;
        return { errors: failure.errors ?? [{ text: (thrown as Error).message }] };
      }
    });
  }

  try {
    const result = await esbuild.build({
      ...common,
      entryPoints: [module],
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'node',
      sourcemap: 'inline',
      sourcesContent: false,
      // Source maps name files relative to the output, and that must be a real place.
      outfile: join(dirname(module), 'bundle.mjs'),
      sourceRoot: `${pathToFileURL(dirname(module)).href}/`,
      plugins: [{ name: 'stage', setup }],
    });
    return { text: result.outputFiles[0]!.text, sources, assets, packages: [...packages.values()] };
  } catch (thrown) {
    const failure = thrown as Partial<BuildFailure>;
    if (failure.errors === undefined) throw thrown;
    const errors = failure.errors.map((error) => ({ ...error, pluginName: '' }));
    const messages = await esbuild.formatMessages(errors, { kind: 'error', color: false });
    // Without the mark that esbuild puts before each: that these are errors has been said.
    const text = messages.map((message) => message.replace(/^\S+ \[ERROR\] /, '')).join('\n');
    throw new UsageError(`${relative(process.cwd(), module)} cannot be built:\n${text.trimEnd()}`);
  }
}

/**
 * Whether what a source file names is content that it brings along: no folder that holds the file, nothing made at run time.
 * Judged by the way from the file alone: the checkout may itself lie below a folder called `build`.
 */
function isAsset(path: string, source: string): boolean {
  const folder = path.endsWith(sep) ? path : path + sep;
  const way = `${sep}${relative(dirname(source), path)}${sep}`;
  return !source.startsWith(folder) && !/[\\/](node_modules|build|dist|cache|results)[\\/]/.test(way);
}

function isPrebuilt(path: string): boolean {
  return dirname(path).endsWith(`${sep}dist`);
}

/** `@scope/name` or `name` at the beginning of an import. */
function packageName(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

interface PackageFile {
  readonly name?: string;
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/** A package's own description. */
export function readPackage(folder: string): PackageFile {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as PackageFile;
}

/**
 * The package that a file belongs to and those that it depends on, transitively. Optional dependencies are left out:
 * they differ between platforms, and a key must not.
 */
function installed(file: string): Reached[] {
  const own = nearestFolder(dirname(file), (folder) => {
    const path = join(folder, 'package.json');
    return existsSync(path) && readPackage(folder).version !== undefined;
  });
  if (own === null) return [];
  const reached = new Map<string, Reached>();
  const visit = (folder: string) => {
    if (reached.has(folder)) return;
    const description = readPackage(folder);
    reached.set(folder, { name: description.name ?? folder, folder });
    for (const name of Object.keys(description.dependencies ?? {})) {
      const holder = nearestFolder(folder, (above) => existsSync(join(above, 'node_modules', name, 'package.json')));
      if (holder !== null) visit(realpathSync(join(holder, 'node_modules', name)));
    }
  };
  visit(own);
  return [...reached.values()];
}
