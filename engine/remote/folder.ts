/** A folder, perhaps on a network file system, as a shared cache. It has the layout of a local one. */
import { randomBytes } from 'node:crypto';
import { constants, createWriteStream } from 'node:fs';
import { lstat, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { errorCode, messageOf } from '../errors.ts';
import type { Digest } from '../record.ts';
import { type Area, type Body, type Remote, RemoteError } from './remote.ts';

/** Nobody writes one object for so long: what is older was left by a machine that died. */
const abandonedMs = 24 * 3600 * 1000;

/**
 * Opens the shared cache in a folder.
 * Safe for any number of machines: an object is written under a name that no other process has, flushed, and renamed, which
 * a file server does at once; of two writers of one object either is right; nothing is ever locked. Whether another
 * machine's process still lives cannot be told from here, so what was left half-written goes by its age.
 */
export function openFolder(root: string): Remote {
  const pathOf = (area: Area, digest: Digest) => join(root, area, digest.slice(0, 2), digest);
  let swept: Promise<void> | null = null;

  async function sweep(): Promise<void> {
    const tmp = join(root, 'tmp');
    await mkdir(tmp, { recursive: true });
    for (const name of await readdir(tmp)) {
      const file = await stat(join(tmp, name)).catch(() => null);
      if (file !== null && file.mtimeMs < Date.now() - abandonedMs) await rm(join(tmp, name), { force: true });
    }
  }

  async function write(to: string, body: Body, signal: AbortSignal): Promise<void> {
    swept ??= sweep();
    await swept;
    const temporary = join(root, 'tmp', `${hostname()}-${process.pid}-${randomBytes(6).toString('hex')}`);
    try {
      await pipeline(body.open(), createWriteStream(temporary, { flags: 'wx', mode: 0o644, flush: true }), { signal });
      await mkdir(dirname(to), { recursive: true });
      await rename(temporary, to);
    } catch (thrown) {
      await rm(temporary, { force: true }).catch(() => undefined);
      throw thrown;
    }
  }

  return {
    name: root,
    isWire: false,
    has: (area, digest) =>
      lstat(pathOf(area, digest)).then(
        (found) => found.isFile(),
        (thrown) => absent(thrown, false),
      ),
    get: (area, digest, signal) =>
      // A link could lead to any file of this machine.
      open(pathOf(area, digest), constants.O_RDONLY | constants.O_NOFOLLOW).then(
        (file): Readable => file.createReadStream({ signal }),
        (thrown) => absent(thrown, null),
      ),
    put: (area, digest, body, signal) => write(pathOf(area, digest), body, signal).catch(refused),
    close: async () => undefined,
  };
}

function absent<T>(thrown: unknown, value: T): T {
  // ELOOP: a link lies there, which is nobody's object.
  if (['ENOENT', 'ELOOP'].includes(errorCode(thrown) ?? '')) return value;
  return refused(thrown);
}

function refused(thrown: unknown): never {
  const isPassing = ['ESTALE', 'EIO', 'EAGAIN', 'EBUSY'].includes(errorCode(thrown) ?? '');
  throw new RemoteError(isPassing ? 'passing' : 'final', messageOf(thrown));
}
