/** Relative paths that must stay inside their folder: as they are written, and as symbolic links bend them. */
import { realpathSync } from 'node:fs';
import { dirname, posix, sep } from 'node:path';

/** @returns why `path` does not name something inside its folder, or null when it does. */
export function pathProblem(path: string): string | null {
  if (path.trim() === '') return 'the path is empty';
  if (path.includes('\0')) return 'the path holds a null character';
  if (posix.isAbsolute(path) || /^[A-Za-z]:[\\/]/.test(path)) return `${path} is absolute`;
  // A backslash parts names on some systems and stands in one on others: the path must stay inside either way.
  for (const spelling of [path, path.replaceAll('\\', '/')]) {
    const normal = posix.normalize(spelling);
    if (normal === '..' || normal.startsWith('../')) return `${path} leads out of its folder`;
    if (normal === '.' || normal === './' || normal.startsWith('/')) return `${path} is the folder itself`;
  }
  return null;
}

/** @returns the path without `.`, `..`, doubled and trailing slashes: one spelling for one place. */
export function normalPath(path: string): string {
  return posix.normalize(path).replace(/\/$/, '');
}

/** @returns the names of two paths of which the first lies inside the second, or is the same; null where each has its own place. */
export function overlapOf(paths: Readonly<Record<string, string>>): readonly [inner: string, outer: string] | null {
  const places = Object.entries(paths).map(([name, path]) => [name, `${normalPath(path)}/`] as const);
  for (const [inner, place] of places) {
    const found = places.find(([outer, around]) => outer !== inner && place.startsWith(around));
    if (found !== undefined) return [inner, found[0]];
  }
  return null;
}

/**
 * Whether the folder that holds `path` lies in `folder`, or is it, once symbolic links are followed. The path itself may be
 * anything, or not be there.
 */
export function isHeldBy(path: string, folder: string): boolean {
  const root = realpathSync(folder);
  const holder = realpathSync(dirname(path));
  return holder === root || holder.startsWith(root + sep);
}
