/** Which shared cache a project uses, and how: from pipe.config.yaml and the environment. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CacheConfig, readConfig } from '../config.ts';
import { UsageError } from '../errors.ts';
import type { Remote } from './remote.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What holds for any kind of remote. */
export interface SharedSettings {
  readonly address: Address;
  readonly isWritable: boolean;
  readonly compresses: boolean;
  /** How long to wait for a byte. */
  readonly patienceMs: number;
  /** Signs records, and refuses those that it did not sign; null when none is given. */
  readonly secret: string | null;
}

export type Address =
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'http'; readonly url: string }
  | {
      readonly kind: 's3';
      readonly bucket: string;
      readonly prefix: string;
      readonly endpoint: string | null;
      readonly region: string | null;
    };

/** The shortest secret accepted: 16 bytes in base64 or hexadecimal are longer. */
const shortestSecret = 16;

/**
 * The shared cache of the project at `root`; null when there is none. PIPE_CACHE_REMOTE and PIPE_CACHE_MODE come before the
 * file; PIPE_CACHE_REMOTE set to nothing, or to `none`, turns it off.
 * @throws UsageError for an address, mode or secret that cannot be used; no message repeats a secret.
 */
export function readSharedSettings(root: string, env: Environment): SharedSettings | null {
  const given = env.PIPE_CACHE_REMOTE;
  if (given === '' || given === 'none') return null;
  const { cache } = readConfig(root);
  const config: Partial<CacheConfig> = typeof cache === 'string' ? { remote: cache } : (cache ?? {});
  const remote = given ?? config.remote;
  if (remote === undefined) return null;
  const where = given === undefined ? 'pipe.config.yaml: cache' : 'PIPE_CACHE_REMOTE';
  const mode = env.PIPE_CACHE_MODE || config.mode || 'read-write';
  if (mode !== 'read-write' && mode !== 'read-only') {
    throw new UsageError('PIPE_CACHE_MODE must be read-write or read-only');
  }
  const secret = env.PIPE_CACHE_KEY || null;
  if (secret !== null && secret.length < shortestSecret) {
    throw new UsageError(
      `PIPE_CACHE_KEY is too short to sign with: give at least ${shortestSecret} characters, such as those of \`openssl rand -hex 32\``,
    );
  }
  return {
    address: addressOf(remote, root, where, config),
    isWritable: mode === 'read-write',
    compresses: config.compression !== 'none',
    patienceMs: (config.timeout ?? 5) * 1000,
    secret,
  };
}

function addressOf(remote: string, root: string, where: string, config: Partial<CacheConfig>): Address {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]+):/.exec(remote)?.[1]?.toLowerCase();
  if (scheme === undefined) return { kind: 'folder', path: resolve(root, remote) };
  let url: URL;
  try {
    url = new URL(remote);
  } catch {
    throw new UsageError(`${where} is not an address`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new UsageError(
      `${where} holds a user or a password: leave them out of the address, and set PIPE_CACHE_USER and PIPE_CACHE_PASSWORD, or PIPE_CACHE_TOKEN`,
    );
  }
  if (url.search !== '' || url.hash !== '') throw new UsageError(`${where} ends in a query: write the address without`);
  switch (scheme) {
    case 'file':
      return { kind: 'folder', path: fileURLToPath(url) };
    case 'http':
    case 'https':
      return { kind: 'http', url: url.href };
    case 's3': {
      const prefix = url.pathname.replace(/^\/+|\/+$/g, '');
      const { endpoint = null, region = null } = config;
      if (url.hostname === '') throw new UsageError(`${where} names no bucket: write s3://BUCKET/PREFIX`);
      return { kind: 's3', bucket: url.hostname, prefix: prefix === '' ? '' : `${prefix}/`, endpoint, region };
    }
    default:
      throw new UsageError(`${where} begins with ${scheme}: write a folder, http://, https:// or s3://BUCKET/PREFIX`);
  }
}

/** Opens the remote that an address means; only the client that it needs is loaded. */
export async function openRemote(address: Address, env: Environment): Promise<Remote> {
  switch (address.kind) {
    case 'folder':
      return (await import('./folder.ts')).openFolder(address.path);
    case 'http':
      return (await import('./http.ts')).openHttp(address.url, env);
    case 's3':
      return (await import('./s3.ts')).openBucket(address);
  }
}
