/** The code digest of a stage: its transitive local sources in normal form, package versions, native sources and assets. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, extname, join, relative, sep } from 'node:path';
import { type Bundle, openBundler, readPackage } from './bundle.ts';
import { type Digester, type FileMark, markOf, sha256, unchanged, walk } from './digest.ts';
import { UsageError } from './errors.ts';
import { canonicalJson } from './manifest.ts';
import type { Memo } from './memo.ts';
import type { Project } from './project.ts';
import type { Digest } from './record.ts';

/** What a stage's code consists of: `stages/train.ts` -> digest, `npm:vega` -> version. Paths are relative to the project. */
export type CodeListing = Readonly<Record<string, string>>;

export interface Code {
  readonly digest: Digest;
  readonly listing: CodeListing;
}

interface Known extends Code {
  readonly takenAt: number;
  /** Every file and folder that the listing was read from. */
  readonly marks: readonly (readonly [string, FileMark])[];
}

/** Finds code digests, and remembers them while no file that they were read from has changed. */
export interface CodeReader {
  /** @throws UsageError when the module cannot be built. */
  of(module: string): Promise<Code>;
  /** The module's bundle, of the very sources that `of` gives the digest of. @throws UsageError when they changed since. */
  bundleOf(module: string): Promise<Bundle>;
  save(): void;
}

/** Raised when the way a listing is made changes. */
const listingVersion = 1;

export function openCodeReader(project: Project, memo: Memo, digester: Digester): CodeReader {
  const memoName = `code-${listingVersion}`;
  const table = new Map<string, Known>(
    Object.entries((memo.read(memoName) as Record<string, Known> | undefined) ?? {}),
  );
  const seen = new Map<string, Known>();
  const bundles = new Map<string, Bundle>();
  const bundler = openBundler(join(project.packageRoot, 'engine', 'stage.ts'));
  // Stages share most of what they import: each file is looked at once.
  const verdicts = new Map<string, boolean>();
  let grew = false;

  const isCurrent = (known: Known) =>
    known.marks.every(([path, mark]) => {
      const id = `${path}\0${mark}\0${known.takenAt}`;
      let verdict = verdicts.get(id);
      if (verdict === undefined) {
        verdict = unchanged(path, mark, known.takenAt);
        verdicts.set(id, verdict);
      }
      return verdict;
    });

  /** The name of a file in listings: the same in every checkout. */
  function nameOf(path: string): string {
    const inside = (root: string) => path.startsWith(root + sep);
    const isPackages =
      project.packageRoot !== project.root &&
      inside(project.packageRoot) &&
      (!inside(project.root) || project.packageRoot.length > project.root.length);
    const name = relative(isPackages ? project.packageRoot : project.root, path).replaceAll(sep, '/');
    return isPackages ? `pipe:${name}` : name;
  }

  async function build(module: string): Promise<Known> {
    const takenAt = Date.now();
    const bundle = await bundler.bundle(module);
    const listing: Record<string, string> = {};
    const marks = new Map<string, FileMark>([[compilerFile(), markOf(compilerFile())]]);
    const native = new Set<string>();
    for (const [path, digest] of bundle.sources) {
      listing[nameOf(path)] = digest;
      marks.set(path, markOf(path));
      for (const root of [project.root, project.packageRoot]) {
        if (path.startsWith(join(root, 'native') + sep)) native.add(join(root, 'native'));
      }
    }
    const files = [...bundle.assets];
    for (const folder of native) {
      marks.set(folder, markOf(folder));
      for (const name of walk(folder)) {
        const path = join(folder, name);
        // A file that comes or goes moves the times of its folder.
        marks.set(dirname(path), markOf(dirname(path)));
        if (nativeSources.has(extname(name))) files.push(path);
      }
    }
    for (const path of files) {
      if (!existsSync(path)) {
        listing[nameOf(path)] = 'absent';
        marks.set(path, null);
        continue;
      }
      listing[nameOf(path)] = (await digester.of(path)).digest;
      marks.set(path, markOf(path));
      if (statSync(path).isDirectory())
        for (const name of walk(path)) marks.set(join(path, name), markOf(join(path, name)));
    }
    const versions = new Map<string, Set<string>>();
    for (const { name, folder } of bundle.packages) {
      const file =
        folder === null ? join(project.root, 'node_modules', name, 'package.json') : join(folder, 'package.json');
      marks.set(file, markOf(file));
      const found = versions.get(name) ?? new Set();
      versions.set(name, found.add(folder === null ? 'absent' : (readPackage(folder).version ?? 'unversioned')));
    }
    for (const [name, found] of versions) listing[`npm:${name}`] = [...found].sort().join(', ');
    const known: Known = { digest: sha256(canonicalJson(listing)), listing, takenAt, marks: [...marks] };
    table.set(module, known);
    bundles.set(module, bundle);
    grew = true;
    return known;
  }

  return {
    async of(module) {
      const before = seen.get(module);
      if (before !== undefined) return before;
      const known = table.get(module);
      const current = known !== undefined && isCurrent(known) ? known : await build(module);
      seen.set(module, current);
      return current;
    },
    async bundleOf(module) {
      const { digest } = await this.of(module);
      if (!bundles.has(module) && (await build(module)).digest !== digest) {
        throw new UsageError(`${module} changed while it was being read. Run again.`);
      }
      return bundles.get(module)!;
    },
    save() {
      if (!grew) return;
      memo.write(memoName, Object.fromEntries(table));
      grew = false;
    },
  };
}

const nativeSources = new Set(['.cc', '.cu', '.h', '.cuh']);

let compiler: string | undefined;
/** The description of the installed esbuild: another version may emit other JavaScript. */
function compilerFile(): string {
  compiler ??= createRequire(import.meta.url).resolve('esbuild/package.json');
  return compiler;
}

/** Parses the blob of a code listing. */
export function parseCodeListing(text: string): CodeListing {
  return JSON.parse(text) as CodeListing;
}

/** Reads a listing from a file of the store. */
export function readCodeListing(path: string): CodeListing {
  return parseCodeListing(readFileSync(path, 'utf8'));
}
