/** An HTTP server that answers GET, HEAD and PUT on /ac/KEY and /cas/DIGEST as a shared cache. */
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { messageOf } from '../errors.ts';
import type { Digest } from '../record.ts';
import { type Area, type Body, type Remote, RemoteError, statusError } from './remote.ts';

/** The variables that hold credentials for an HTTP cache; nothing else does. */
const credentials = 'PIPE_CACHE_TOKEN, or PIPE_CACHE_USER and PIPE_CACHE_PASSWORD,';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Opens the shared cache at an address without user and password. A bearer token or basic credentials come from the
 * environment, and so does a proxy (`https_proxy`, `no_proxy`).
 */
export function openHttp(address: string, env: Environment): Remote {
  const base = address.replace(/\/+$/, '');
  const authorization = authorizationOf(env);
  // How long to wait for an answer is the caller's to say, by the signal.
  const timeouts = { headersTimeout: 0, bodyTimeout: 0, connections: 64 };
  const isProxied = ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'].some((name) => env[name]);
  const dispatcher = isProxied ? new EnvHttpProxyAgent(timeouts) : new Agent(timeouts);

  async function ask(
    method: 'GET' | 'HEAD' | 'PUT',
    area: Area,
    digest: Digest,
    signal: AbortSignal,
    body?: Body,
  ): Promise<Dispatcher.ResponseData> {
    const headers: Record<string, string> = {};
    if (authorization !== null) headers.authorization = authorization;
    if (body !== undefined) headers['content-length'] = String(body.bytes);
    try {
      return await request(`${base}/${area}/${digest}`, {
        method,
        headers,
        signal,
        dispatcher,
        body: body === undefined ? null : body.open(),
      });
    } catch (thrown) {
      throw new RemoteError('passing', reason(thrown));
    }
  }

  async function finished({ statusCode, body }: Dispatcher.ResponseData): Promise<boolean> {
    await body.dump();
    if (statusCode === 404) return false;
    if (statusCode < 200 || statusCode >= 300) throw statusError(statusCode, credentials);
    return true;
  }

  return {
    name: base,
    isWire: true,
    has: async (area, digest, signal) => finished(await ask('HEAD', area, digest, signal)),
    async get(area, digest, signal) {
      const answer = await ask('GET', area, digest, signal);
      if (answer.statusCode === 200) return answer.body;
      await finished(answer);
      return null;
    },
    async put(area, digest, body, signal) {
      if (await finished(await ask('PUT', area, digest, signal, body))) return;
      throw new RemoteError('final', 'it answers 404 to PUT: it does not take what is sent to this address');
    },
    close: () => dispatcher.destroy(),
  };
}

function authorizationOf(env: Environment): string | null {
  if (env.PIPE_CACHE_TOKEN) return `Bearer ${env.PIPE_CACHE_TOKEN}`;
  if (!env.PIPE_CACHE_USER) return null;
  const pair = `${env.PIPE_CACHE_USER}:${env.PIPE_CACHE_PASSWORD ?? ''}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

function reason(thrown: unknown): string {
  // A host with several addresses gives one error for each.
  if (thrown instanceof AggregateError && thrown.errors.length > 0) return messageOf(thrown.errors[0]);
  return messageOf(thrown);
}
