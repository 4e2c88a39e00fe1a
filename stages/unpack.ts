/** Stage: takes a tar archive apart, as it comes from a download. */
import { closeSync, createReadStream, createWriteStream, mkdirSync, openSync, readSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { normalPath, pathProblem } from '../engine/paths.ts';
import { defineStage, StageError } from '../engine/stage.ts';

export default defineStage({
  description: 'Unpacks a tar archive (.tar, .tar.gz): files and folders; one that would write elsewhere is refused.',
  params: {
    strip: {
      type: 'integer',
      minimum: 0,
      default: 0,
      description: 'How many leading folders of each path are left out; what lies above that is left out too.',
    },
  },
  inputs: { archive: { description: 'The archive, say of `download`.' } },
  outputs: { folder: { path: 'unpacked', description: 'What was in it.' } },
  async run({ params, inputs, outputs, signal, log, measure }) {
    mkdirSync(outputs.folder);
    const taken = new Map<string, Header['type']>();
    let bytes = 0;
    const archive = extract();
    const source = pipeline(createReadStream(inputs.archive), decompressor(inputs.archive), archive, { signal });
    // Its failure is seen below, where the archive is read.
    source.catch(() => undefined);
    try {
      for await (const entry of archive) {
        const place = placeOf(entry.header, params.strip);
        if (place === null) {
          entry.resume();
          continue;
        }
        const { type } = entry.header;
        const before = taken.get(place);
        if (before !== undefined && (before !== 'directory' || type !== 'directory'))
          throw new StageError(`the archive holds ${place} twice`);
        taken.set(place, type);
        const path = join(outputs.folder, place);
        if (type === 'directory') {
          mkdirSync(path, { recursive: true });
          entry.resume();
          continue;
        }
        mkdirSync(dirname(path), { recursive: true });
        // 'wx': a file in the place of a folder, or the other way round, is an error and never followed.
        await pipeline(entry as unknown as Readable, createWriteStream(path, { flags: 'wx' }), { signal });
        bytes += entry.header.size ?? 0;
      }
      await source;
    } catch (error) {
      throw error instanceof StageError ? error : new StageError(`${inputs.archive}: ${wordsFor(error as Error)}`);
    }
    const files = [...taken.values()].filter((type) => type !== 'directory').length;
    if (files === 0)
      throw new StageError(
        `${inputs.archive} holds no file${params.strip === 0 ? '' : ` below ${params.strip} folders`}`,
      );
    log(`${files} files`);
    measure('unpacked bytes', bytes);
  },
});

/** Gunzips what begins as gzip does. */
function decompressor(path: string): NodeJS.ReadWriteStream {
  const magic = Buffer.alloc(2);
  const file = openSync(path, 'r');
  try {
    readSync(file, magic, 0, 2, 0);
  } finally {
    closeSync(file);
  }
  return magic[0] === 0x1f && magic[1] === 0x8b ? createGunzip() : new PassThrough();
}

/** Where an entry goes, or null when nothing of it is left. @throws StageError for one that is refused. */
function placeOf({ name, type, linkname }: Header, strip: number): string | null {
  if (type === 'symlink' || type === 'link')
    throw new StageError(`the archive holds a link, ${name} -> ${linkname}: pack what it points to instead`);
  if (type !== 'file' && type !== 'contiguous-file' && type !== 'directory')
    throw new StageError(`the archive holds ${name}, which is neither a file nor a folder (${type})`);
  const path = name.replace(/^(\.\/)+/, '');
  if (type === 'directory' && (path === '' || path === '.')) return null;
  const problem = pathProblem(path);
  if (problem !== null) throw new StageError(`the archive is refused: ${problem}`);
  const rest = normalPath(path).split('/').slice(strip).join('/');
  return rest === '' ? null : rest;
}

function wordsFor({ message, ...error }: Error): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EEXIST' || code === 'ENOTDIR') return `a path in it is both a file and a folder (${message})`;
  return `no tar archive, or a damaged one (${message})`;
}
