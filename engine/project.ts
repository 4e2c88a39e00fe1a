/** Where a project lies: its root, its cache and its results, and the folder of the package that brings the stages. */
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { UsageError } from './errors.ts';

export interface Project {
  /** Absolute, symbolic links resolved. */
  readonly root: string;
  readonly cache: string;
  readonly results: string;
  /** The folder of the installed `pipe` package: its stages/ serve every project. */
  readonly packageRoot: string;
}

/** The nearest folder at or above `start` for which `holds` is true, or null. */
export function nearestFolder(start: string, holds: (folder: string) => boolean): string | null {
  for (let folder = resolve(start); ; folder = dirname(folder)) {
    if (holds(folder)) return folder;
    if (folder === dirname(folder)) return null;
  }
}

/**
 * Opens the project that `cwd` lies in: the nearest folder with a `pipelines/` folder, a `pipe.config.yaml` or a
 * `package.json`.
 * @throws UsageError when there is none up to the root of the disk.
 */
export function openProject(cwd: string): Project {
  const found = nearestFolder(cwd, (folder) =>
    ['pipelines', 'pipe.config.yaml', 'package.json'].some((mark) => existsSync(join(folder, mark))),
  );
  if (found === null) {
    throw new UsageError(
      `${resolve(cwd)} is not inside a project: no folder above it holds pipelines/, pipe.config.yaml or package.json. Run \`pipe init\` here to begin one.`,
    );
  }
  const root = realpathSync(found);
  const packageRoot = nearestFolder(import.meta.dirname, (folder) => existsSync(join(folder, 'package.json')));
  if (packageRoot === null) throw new Error(`${import.meta.dirname} lies in no package`);
  return { root, cache: join(root, 'cache'), results: join(root, 'results'), packageRoot: realpathSync(packageRoot) };
}
