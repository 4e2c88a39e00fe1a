/** Files and folders that appear whole: made under another name, then renamed. What a kill leaves is known by its maker. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { sha256 } from './digest.ts';
import { errorCode } from './errors.ts';
import { identityText, isAlive, parseIdentity, self } from './identity.ts';

/** The name, beside `path`, under which this process makes it. */
export function temporaryFor(path: string): string {
  return join(dirname(path), `.${identityText(self())}-${sha256(basename(path)).slice(0, 8)}.tmp`);
}

/** Makes a folder with folders in it, and those above when they are not there: one system call a folder where they are. @throws Error when it exists. */
export function makeFolderWith(path: string, folders: readonly string[]): void {
  try {
    mkdirSync(path);
  } catch (thrown) {
    if (errorCode(thrown) !== 'ENOENT') throw thrown;
    mkdirSync(dirname(path), { recursive: true });
    mkdirSync(path);
  }
  for (const name of folders) mkdirSync(join(path, name));
}

/**
 * Makes a folder and those above it unless they are there. Unlike Node's own, it says why the disk refuses: there a disk that
 * is read-only reads as `ENOENT`.
 */
export function makeFolders(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (thrown) {
    if (errorCode(thrown) !== 'ENOENT') throw thrown;
    let missing = path;
    while (!existsSync(dirname(missing))) missing = dirname(missing);
    mkdirSync(missing);
    throw thrown;
  }
}

/** Writes a file whole, and the folders above it. When the disk refuses, nothing is left. */
export function writeWhole(path: string, content: string | Uint8Array): void {
  const temporary = temporaryFor(path);
  try {
    makeFolders(dirname(path));
    writeFileSync(temporary, content);
    renameSync(temporary, path);
  } catch (thrown) {
    rmSync(temporary, { force: true });
    throw thrown;
  }
}

/** Removes what processes that have died left half-made in a folder and below it. */
export function sweepTemporaries(folder: string): void {
  let names: string[];
  try {
    names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  } catch {
    return;
  }
  for (const name of names) {
    const [, owner] = /^\.(.*)\.tmp$/.exec(basename(name)) ?? [];
    const identity = owner === undefined ? null : parseIdentity(owner);
    if (identity !== null && !isAlive(identity)) rmSync(join(folder, name), { recursive: true, force: true });
  }
}

/** Whether a hard link failed because the disk, or the pair of disks, has none to give. */
export function lacksLinks(thrown: unknown): boolean {
  const codes = ['EPERM', 'EXDEV', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];
  return codes.includes(errorCode(thrown) ?? '');
}
