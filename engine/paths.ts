/** Relative paths that must stay inside their folder. */
import { posix } from 'node:path';

/** @returns why `path` does not name something inside its folder, or null when it does. */
export function pathProblem(path: string): string | null {
  if (path.trim() === '') return 'the path is empty';
  if (path.includes('\0')) return 'the path holds a null character';
  if (posix.isAbsolute(path) || /^[A-Za-z]:[\\/]/.test(path)) return `${path} is absolute`;
  const normal = posix.normalize(path.replaceAll('\\', '/'));
  if (normal === '..' || normal.startsWith('../')) return `${path} leads out of its folder`;
  return normal === '.' || normal === './' ? `${path} is the folder itself` : null;
}

/** @returns the path without `.`, `..`, doubled and trailing slashes: one spelling for one place. */
export function normalPath(path: string): string {
  return posix.normalize(path).replace(/\/$/, '');
}
