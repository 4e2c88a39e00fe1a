/** Makes a file of dist/ that others import, once for each recipe that it is made by. */
import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const root = dirname(import.meta.dirname);

/** Digest of what a file is made from: the packages' versions and the script that makes it. */
async function recipe(packages, script) {
  const require = createRequire(import.meta.url);
  const versions = packages.map((name) => {
    const file = require.resolve.paths(name).map((folder) => join(folder, name, 'package.json'));
    return readFirst(file).then((text) => `${name}@${JSON.parse(text).version}`);
  });
  const lines = [...(await Promise.all(versions)), await readFile(script, 'utf8')];
  return createHash('sha256').update(lines.join('\n')).digest('hex');
}

/** The content of the first of several files that exists. */
async function readFirst([first, ...rest]) {
  try {
    return await readFile(first, 'utf8');
  } catch (error) {
    if (error.code !== 'ENOENT' || rest.length === 0) throw error;
    return readFirst(rest);
  }
}

/** The first bytes of a file, or '' when there is none. */
async function firstBytes(path, length) {
  const file = await open(path).catch((error) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return '';
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/**
 * Makes dist/NAME unless it is there and was made from the same versions by the same script. Safe to call from several
 * processes at once: the file appears whole, by a rename.
 * @param {string} name
 * @param {{ packages: readonly string[], script: string, make: () => Promise<string> }} how packages that go into it, the path of
 *   the script that makes it, and the making of its text
 * @returns {Promise<string>} the file's absolute path.
 */
export async function prebuilt(name, { packages, script, make }) {
  const path = join(root, 'dist', name);
  const stamp = `// ${await recipe(packages, script)}\n`;
  if ((await firstBytes(path, stamp.length)) === stamp) return path;
  const text = await make();
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, stamp + text);
  await rename(temporary, path);
  return path;
}
