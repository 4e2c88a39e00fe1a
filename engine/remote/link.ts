/** A remote as it is used: patience, further attempts, and being left alone for a while when it is out of order. */
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { createWriteStream } from 'node:fs';
import { pipeline as joined, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import PQueue from 'p-queue';
import pRetry from 'p-retry';
import { errorCode, messageOf } from '../errors.ts';
import type { Digest } from '../record.ts';
import { type Area, type Body, type Remote, RemoteError } from './remote.ts';
import { unpack } from './wire.ts';

/** How many requests are under way at a time: enough to hide the way there and back, few enough for a small server. */
const atOnce = 24;
/** Further attempts after one that failed for a passing reason, with 0.2 s and about 1 s before them. */
const furtherAttempts = 2;
/** How long a remote that is out of order is left alone at first; twice as long each further time. */
const restMs = 60_000;
/** The largest record that is read. */
const longestRecord = 64 << 20;

/** A blob that arrived, or why none did: `absent` is no fault, `wrong` is one of what lies there. */
export type Arrival =
  | { readonly kind: 'whole'; readonly bytes: number }
  | { readonly kind: 'absent' }
  | { readonly kind: 'wrong'; readonly problem: string };

/**
 * A remote with manners. Methods throw `RemoteError`: at once and without asking while the remote is being left alone, so that
 * one that is dead costs its timeout once, and not for every task.
 */
export interface Link {
  readonly remote: Remote;
  has(area: Area, digest: Digest): Promise<boolean>;
  /** A record as it lies there, or null when there is none. */
  readRecord(key: Digest): Promise<Buffer | null>;
  /** Writes a blob to a new file, digesting it on the way. The file holds what came, whole or not. */
  download(digest: Digest, path: string, limit: number): Promise<Arrival>;
  upload(area: Area, digest: Digest, body: Body): Promise<void>;
  /** Gives up all that is under way. */
  abandon(): void;
  close(): Promise<void>;
}

/**
 * @param patienceMs how long to wait for a byte. One that is sent may take six times as long: servers store first, then answer.
 * @param onRest hears that the remote is left alone from now on, why, and for how long.
 */
export function openLink(remote: Remote, patienceMs: number, onRest: (problem: string, seconds: number) => void): Link {
  const queue = new PQueue({ concurrency: atOnce });
  const everything = new AbortController();
  // Each request under way listens.
  setMaxListeners(0, everything.signal);
  let restsUntil = 0;
  let rests = 0;

  function checkAwake(): void {
    everything.signal.throwIfAborted();
    if (Date.now() < restsUntil) throw new RemoteError('final', 'it is left alone for a while');
  }

  function rest(problem: string): void {
    if (Date.now() < restsUntil) return;
    const ms = restMs * 2 ** rests;
    rests += 1;
    restsUntil = Date.now() + ms;
    onRest(problem, ms / 1000);
  }

  /** Runs `work`, which calls `touch` for each sign of life, and gives it up when there has been none for too long. */
  async function patiently<T>(ms: number, work: (signal: AbortSignal, touch: () => void) => Promise<T>): Promise<T> {
    const silence = new AbortController();
    const signal = AbortSignal.any([silence.signal, everything.signal]);
    const error = new RemoteError('silent', `it gave no sign of life for ${ms / 1000} s`);
    const timer = setTimeout(() => silence.abort(error), ms);
    // Even what does not listen to the signal, such as a file server that hangs, is not waited for.
    const given = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(silence.signal.aborted ? error : signal.reason), { once: true });
    });
    given.catch(() => undefined);
    try {
      return await Promise.race([work(signal, () => timer.refresh()), given]);
    } catch (thrown) {
      throw silence.signal.aborted ? error : thrown;
    } finally {
      clearTimeout(timer);
    }
  }

  function tried<T>(ms: number, work: (signal: AbortSignal, touch: () => void) => Promise<T>): Promise<T> {
    return queue.add(async () => {
      try {
        return await pRetry(
          () => {
            checkAwake();
            return patiently(ms, work).catch((thrown: unknown) => {
              // An error without a kind is one of a stream that broke.
              throw thrown instanceof RemoteError ? thrown : new RemoteError('passing', messageOf(thrown));
            });
          },
          {
            retries: furtherAttempts,
            minTimeout: 200,
            factor: 4,
            randomize: true,
            shouldRetry: ({ error }) => error instanceof RemoteError && error.kind === 'passing',
            signal: everything.signal,
          },
        );
      } catch (thrown) {
        if (!everything.signal.aborted) rest(messageOf(thrown));
        throw thrown;
      }
    });
  }

  const counting = (touch: () => void, onChunk: (chunk: Buffer) => void = () => undefined) =>
    new Transform({
      transform(chunk: Buffer, _, done) {
        touch();
        onChunk(chunk);
        done(null, chunk);
      },
    });

  return {
    remote,
    has: (area, digest) => tried(patienceMs, (signal) => remote.has(area, digest, signal)),
    readRecord: (key) =>
      tried(patienceMs, async (signal, touch) => {
        const stream = await remote.get('ac', key, signal);
        if (stream === null) return null;
        const chunks: Buffer[] = [];
        let bytes = 0;
        await pipeline(
          stream,
          counting(touch, (chunk) => {
            bytes += chunk.length;
            if (bytes > longestRecord) throw new RemoteError('final', `its record ${key} is longer than any is`);
            chunks.push(chunk);
          }),
          async (source) => {
            for await (const _ of source);
          },
          { signal },
        );
        return Buffer.concat(chunks);
      }),
    download(digest, path, limit) {
      let broken = 0;
      return tried(patienceMs, async (signal, touch): Promise<Arrival> => {
        const stream = await remote.get('cas', digest, signal);
        if (stream === null) return { kind: 'absent' };
        const hash = createHash('sha256');
        let bytes = 0;
        const digesting = counting(touch, (chunk) => {
          hash.update(chunk);
          bytes += chunk.length;
        });
        const unpacking = unpack(limit);
        let problem: string | null = null;
        // What cannot be unpacked is wrong, and would be wrong again; a connection that broke is worth another attempt.
        unpacking.once('error', (error) => {
          if (!stream.errored) problem = `it cannot be unpacked: ${error.message}`;
        });
        const file = createWriteStream(path, { flags: 'w' });
        try {
          await pipeline(stream, counting(touch), unpacking, digesting, file, { signal });
        } catch (thrown) {
          if (signal.aborted) throw thrown;
          if (['ENOSPC', 'EDQUOT', 'EROFS'].includes(errorCode(thrown) ?? '')) {
            throw new RemoteError('final', `what it sends cannot be kept here: ${messageOf(thrown)}`);
          }
          if (problem !== null) return { kind: 'wrong', problem };
          // One object that always breaks off says nothing of the others.
          broken += 1;
          if (broken > furtherAttempts) return { kind: 'wrong', problem: `it breaks off: ${messageOf(thrown)}` };
          throw thrown;
        }
        const found = hash.digest('hex');
        if (found !== digest) return { kind: 'wrong', problem: `its content has the digest ${found}` };
        return { kind: 'whole', bytes };
      });
    },
    upload: (area, digest, body) =>
      tried(6 * patienceMs, (signal, touch) => {
        // What breaks on the way is told by the stream that is read.
        const open = () => joined(body.open(), counting(touch), () => undefined);
        return remote.put(area, digest, { bytes: body.bytes, open }, signal);
      }),
    abandon: () => everything.abort(new RemoteError('final', 'it is not waited for any longer')),
    close: () => remote.close(),
  };
}
