/** Where a download comes from: the forms that `from` can have, and the addresses of a Hugging Face repository's files. */
import { StageError } from '../../engine/stage.ts';

/** A file of a repository: where it is and what it is called in the output folder. */
export interface RemoteFile {
  readonly url: string;
  /** Path below the output folder, with `/`. */
  readonly name: string;
}

export type Source =
  /** A file or folder of this machine; of a folder the named files, or all when none are named. */
  | { readonly kind: 'local'; readonly path: string; readonly files: readonly string[] }
  /** One file becomes the output itself. */
  | { readonly kind: 'file'; readonly url: string }
  /** Several become a folder. */
  | { readonly kind: 'folder'; readonly files: readonly RemoteFile[] };

/** What makes a checkpoint folder: taken from a model's repository when no files are named. */
const checkpointFiles = ['config.json', 'model.safetensors', 'tokenizer.json'];

/**
 * Reads the parameter `from`.
 * @param files paths of the files wanted from a Hugging Face repository or a local folder; empty for the usual ones, or all.
 * @param endpoint of Hugging Face's hub, without a slash at its end.
 * @throws StageError for an address that cannot be read, and for a data set's repository without file names.
 */
export function parseSource(from: string, files: readonly string[], endpoint: string): Source {
  const outside = files.find((file) => file.split('/').some((part) => part === '' || part === '.' || part === '..'));
  if (outside !== undefined) throw new StageError(`files: '${outside}' is not a path inside a repository or folder`);
  if (from.startsWith('hf://')) return huggingFace(from, files, endpoint);
  if (/^https?:/i.test(from)) {
    if (files.length > 0) throw new StageError(`files cannot be named for '${from}', which is one file`);
    const url = URL.canParse(from) ? new URL(from) : null;
    if (url === null) throw new StageError(`'${from}' is not a valid address`);
    return { kind: 'file', url: url.href };
  }
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(from)?.[1];
  if (scheme !== undefined)
    throw new StageError(`'${from}': ${scheme}:// is not supported; use https://, http://, hf:// or a local path`);
  return { kind: 'local', path: from, files };
}

/** hf://[datasets/]owner/name[@revision][/path]; a name without an owner is one of the hub's first models, such as gpt2. */
function huggingFace(from: string, files: readonly string[], endpoint: string): Source {
  const match = /^hf:\/\/(datasets\/)?([\w.-]+(?:\/[\w.-]+)?)(?:@([^/]+))?(?:\/(.+))?$/.exec(from);
  if (match === null) throw new StageError(`'${from}' is not of the form hf://[datasets/]owner/name[@revision][/path]`);
  const [, datasets = '', name, revision = 'main', path] = match;
  const remote = (file: string): RemoteFile => ({
    url: `${endpoint}/${datasets}${name}/resolve/${encodeURIComponent(revision)}/${file.split('/').map(encodeURIComponent).join('/')}`,
    name: file,
  });
  if (path !== undefined) {
    if (files.length > 0) throw new StageError(`'${from}' names one file already: leave out files, or the path`);
    return { kind: 'file', url: remote(path).url };
  }
  if (files.length === 0 && datasets !== '')
    throw new StageError(`'${from}' is a data set's repository: name its files, or put one's path at the end`);
  return { kind: 'folder', files: (files.length === 0 ? checkpointFiles : files).map(remote) };
}
