/** Stage: fetches a file or folder from the network, a Hugging Face repository, or this machine. */
import { createHash } from 'node:crypto';
import { constants, copyFileSync, cpSync, createReadStream, existsSync, linkSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { defineStage, StageError } from '../engine/stage.ts';
import { type FetchOptions, fetchToShelf } from './download/fetch.ts';
import { openShelf } from './download/shelf.ts';
import { parseSource } from './download/source.ts';

export default defineStage({
  description:
    'Fetches a file or folder: https, a Hugging Face repository (HF_ENDPOINT is respected), or a local path.',
  params: {
    from: {
      type: 'string',
      format: 'source',
      description: 'https://..., hf://[datasets/]owner/name[@revision][/path], or a local file or folder.',
    },
    files: {
      type: 'array',
      items: { type: 'string' },
      default: [],
      description:
        'Files to take from an hf:// repository (by default those of a checkpoint) or a local folder (by default all).',
    },
    sha256: {
      type: 'string',
      pattern: '^([0-9a-f]{64})?$',
      default: '',
      description: 'What the file must have, in lower case.',
    },
    retries: {
      type: 'integer',
      minimum: 0,
      maximum: 20,
      default: 5,
      description: 'How often a failed fetch is repeated.',
    },
    backoff_seconds: {
      type: 'number',
      minimum: 0,
      default: 1,
      description: 'Wait before the first repetition; it doubles each time.',
    },
  },
  inputs: {},
  environment: ['HF_ENDPOINT'],
  outputs: { file: { path: 'download', description: 'What was fetched: a file, or a folder of files.' } },
  async run({ params, outputs, retained, scratch, signal, log, progress, measure }) {
    const endpoint = (process.env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '');
    const source = parseSource(params.from, params.files, endpoint);
    const options = { retries: params.retries, backoff: params.backoff_seconds, signal, log, progress };
    const remote = { retained, scratch, options };
    switch (source.kind) {
      case 'local':
        await copyLocal(source.path, source.files, outputs.file, params.sha256);
        return;
      case 'file':
        measure('fetched bytes', await fetchFile(source.url, outputs.file, params.sha256, remote));
        return;
      case 'folder': {
        if (params.sha256 !== '')
          throw new StageError(
            `sha256 is that of one file, and '${params.from}' gives several: put one file's path at the end`,
          );
        let bytes = 0;
        for (const file of source.files)
          bytes += await fetchFile(file.url, join(outputs.file, ...file.name.split('/')), '', remote);
        measure('fetched bytes', bytes);
      }
    }
  },
});

async function copyLocal(path: string, files: readonly string[], to: string, sha256: string): Promise<void> {
  if (!existsSync(path)) throw new StageError(`there is no file or folder ${path}`);
  if (statSync(path).isDirectory()) {
    if (sha256 !== '') throw new StageError(`sha256 is that of one file, and ${path} is a folder`);
    copyFolder(path, files, to);
    return;
  }
  if (files.length > 0) throw new StageError(`files are named, but ${path} is itself a file`);
  copyFileSync(path, to, constants.COPYFILE_FICLONE);
  const found = await digest(to);
  if (sha256 !== '' && found !== sha256) throw new StageError(`${path} has sha256 ${found}, not ${sha256}`);
}

function copyFolder(folder: string, files: readonly string[], to: string): void {
  const missing = files.find((file) => !existsSync(join(folder, file)));
  if (missing !== undefined) throw new StageError(`there is no ${missing} in ${folder}`);
  const options = { recursive: true, dereference: true, mode: constants.COPYFILE_FICLONE };
  if (files.length === 0) cpSync(folder, to, options);
  for (const file of files) cpSync(join(folder, file), join(to, file), options);
}

interface Remote {
  readonly retained: string;
  readonly scratch: string;
  readonly options: FetchOptions;
}

/** @returns how many bytes came over the network. */
async function fetchFile(
  url: string,
  to: string,
  sha256: string,
  { retained, scratch, options }: Remote,
): Promise<number> {
  const shelf = openShelf(retained, scratch, url);
  try {
    let bytes = 0;
    const known = sha256 !== '' && shelf.keptWhole() !== null && (await digest(shelf.whole)) === sha256;
    if (known) options.log(`${url}: kept from an earlier fetch`);
    else {
      bytes = (await fetchToShelf(url, shelf, options)).bytes;
      const found = sha256 === '' ? '' : await digest(shelf.whole);
      if (found !== sha256) {
        shelf.clear();
        throw new StageError(
          `${url} has sha256 ${found}, not ${sha256}: it is another version or was damaged on the way; what came is not kept`,
        );
      }
    }
    mkdirSync(dirname(to), { recursive: true });
    linkOrCopy(shelf.whole, to);
    return bytes;
  } finally {
    shelf.release();
  }
}

async function digest(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** The kept file is only ever replaced, never written to, so that the output may be another name of it. */
function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to, constants.COPYFILE_FICLONE);
  }
}
