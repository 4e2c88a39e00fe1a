/** Fetches one address over HTTP: resumes what was cut off, asks before fetching again what is there, and retries. */
import { open } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { StageError } from '../../engine/stage.ts';
import type { Shelf } from './shelf.ts';

export interface FetchOptions {
  /** How often a failed attempt is repeated. */
  readonly retries: number;
  /** Seconds before the first repetition; the wait doubles from one to the next. */
  readonly backoff: number;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
  readonly progress: (done: number, total: number) => void;
}

/** What came of a fetch. */
export interface Fetched {
  /** Bytes that came over the network. */
  readonly bytes: number;
}

/** A failure that may pass: a lost connection, a body that was cut off, a server that is busy or broken. */
class Passing extends Error {
  readonly retryAfter: number | null;

  constructor(message: string, options: { readonly cause?: unknown; readonly retryAfter?: number | null } = {}) {
    super(message, { cause: options.cause });
    this.retryAfter = options.retryAfter ?? null;
  }
}

/**
 * Brings the whole content of an address onto its shelf.
 * @throws StageError when the server refuses, or when every attempt has failed; what came is kept for the next time.
 */
export async function fetchToShelf(url: string, shelf: Shelf, options: FetchOptions): Promise<Fetched> {
  let bytes = 0;
  for (let attempt = 0; ; attempt++) {
    try {
      await once(url, shelf, options, (count) => {
        bytes += count;
      });
      return { bytes };
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof Passing)) throw error;
      if (attempt === options.retries) {
        const kept = shelf.keptPartial();
        const resumable = kept !== null && kept.etag !== '' && kept.bytes > 0;
        const note = resumable ? `; ${kept.bytes} bytes are kept and the next run goes on from there` : '';
        throw new StageError(`${url}: ${error.message} (${attempt + 1} attempts)${note}`, { cause: error });
      }
      const seconds = Math.max(options.backoff * 2 ** attempt, error.retryAfter ?? 0);
      options.log(`${url}: ${error.message}; trying again in ${seconds} s (${attempt + 1} of ${options.retries})`);
      await wait(seconds * 1000, undefined, { signal: options.signal });
    }
  }
}

async function once(url: string, shelf: Shelf, options: FetchOptions, count: (bytes: number) => void): Promise<void> {
  const whole = shelf.keptWhole();
  const partial = shelf.keptPartial();
  const headers = requestHeaders(whole?.etag ?? '', partial);
  const response = await request(url, headers, options.signal);
  if (response.status === 304) {
    await response.body?.cancel();
    options.log(`${url}: unchanged since it was fetched`);
    return;
  }
  if (response.status === 416) {
    // What is there is longer than the content now is: the next attempt begins anew.
    await response.body?.cancel();
    shelf.clear();
    throw new Passing('the server has less than what was kept of an earlier fetch');
  }
  if (!response.ok) throw await refusal(url, response);

  const start = response.status === 206 ? rangeStart(response, partial?.bytes ?? 0) : 0;
  if (start > 0) options.log(`${url}: going on from byte ${start}`);
  else shelf.begin({ etag: strongTag(response) });
  await receive(response, shelf, start, options.progress, count);
  shelf.finish();
}

/** Asks for the rest of what is there in part, or for nothing if what is there is still the content. */
function requestHeaders(wholeTag: string, partial: { etag: string; bytes: number } | null): Record<string, string> {
  // A compressed body would have other offsets and lengths than the content.
  const plain = { 'accept-encoding': 'identity' };
  if (partial !== null && partial.bytes > 0 && partial.etag !== '') {
    return { ...plain, range: `bytes=${partial.bytes}-`, 'if-range': partial.etag };
  }
  return wholeTag === '' ? plain : { ...plain, 'if-none-match': wholeTag };
}

async function request(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
  try {
    return await fetch(url, { headers, signal });
  } catch (cause) {
    throw new Passing(`no answer (${reason(cause)})`, { cause });
  }
}

/** The innermost message: fetch wraps what went wrong. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as NodeJS.ErrnoException;
  return error.cause === undefined ? error.message || code || error.name : reason(error.cause);
}

async function refusal(url: string, response: Response): Promise<Error> {
  await response.body?.cancel();
  const said = `the server answers ${response.status} ${response.statusText}`.trimEnd();
  const { status } = response;
  if (status >= 500 || status === 408 || status === 429) {
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
    // A server that asks for more patience than this is told of its failure instead.
    return new Passing(said, { retryAfter: seconds <= 60 ? seconds : null });
  }
  const hints: Readonly<Record<number, string>> = {
    401: 'it wants a login: fetch the file by other means and give its path',
    403: 'it does not allow this: fetch the file by other means and give its path',
    404: 'check the address',
    410: 'it is gone: look for another address',
  };
  const hint = hints[status];
  return new StageError(`${url}: ${said}${hint === undefined ? '' : `; ${hint}`}`);
}

/** Weak tags (W/...) do not promise equal bytes, so nothing is resumed or kept by them. */
function strongTag(response: Response): string {
  const etag = response.headers.get('etag') ?? '';
  return etag.startsWith('W/') ? '' : etag;
}

function rangeStart(response: Response, asked: number): number {
  const start = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
  if (Number(start) !== asked)
    throw new Passing(`asked for the bytes from ${asked}, the server sends those from ${start ?? 'nowhere'}`);
  return asked;
}

async function receive(
  response: Response,
  shelf: Shelf,
  start: number,
  progress: FetchOptions['progress'],
  count: (bytes: number) => void,
): Promise<void> {
  const length = response.headers.get('content-length');
  const total = length === null ? null : start + Number(length);
  let done = start;
  const file = await open(shelf.partial, start > 0 ? 'a' : 'w');
  try {
    for await (const chunk of chunksOf(
      response,
      () => `the connection was lost after ${done} of ${total ?? 'unknown'} bytes`,
    )) {
      await file.appendFile(chunk);
      done += chunk.length;
      count(chunk.length);
      progress(done, total ?? done);
    }
  } finally {
    await file.close();
  }
  if (total !== null && done !== total) throw new Passing(`the body ends after ${done} of ${total} bytes`);
}

/** The body, piece by piece. Only a failure of the network is one that may pass; what the reader throws is left as it is. */
async function* chunksOf(response: Response, describe: () => string): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw new Passing(describe(), { cause });
      });
      if (done) return;
      yield value;
    }
  } finally {
    // Closes the connection when the reader has stopped early; nothing is left to close otherwise.
    await reader.cancel().catch(() => {});
  }
}
