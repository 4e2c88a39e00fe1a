/** What a shared cache has to be able to do: keep objects by area and digest. A folder, an HTTP server and S3 can. */
import type { Readable } from 'node:stream';
import type { Digest } from '../record.ts';

/** `ac` holds records under the keys of tasks, `cas` holds blobs under the sha256 of their content: as in the local store. */
export type Area = 'ac' | 'cas';

/** Bytes to send, as often as they are asked for: an attempt that fails is made again. */
export interface Body {
  readonly bytes: number;
  open(): Readable;
}

/** Every method throws `RemoteError`, stops when the signal aborts, and is called from many places at once. */
export interface Remote {
  /** Its address as it is told to people: no user, password or query. */
  readonly name: string;
  /** Whether what it holds crosses a network as it is: then blobs are compressed. */
  readonly isWire: boolean;
  has(area: Area, digest: Digest, signal: AbortSignal): Promise<boolean>;
  /** The object, or null when there is none. */
  get(area: Area, digest: Digest, signal: AbortSignal): Promise<Readable | null>;
  /** Puts an object in the place of whatever lies there. It appears whole or not at all. */
  put(area: Area, digest: Digest, body: Body, signal: AbortSignal): Promise<void>;
  /** Ends connections that are kept open. */
  close(): Promise<void>;
}

/** Why a remote did not do what it was asked. */
export class RemoteError extends Error {
  override readonly name = 'RemoteError';
  /** `passing`: worth another try. `silent`: no byte came in time. `final`: another try would fail the same way. */
  readonly kind: 'passing' | 'silent' | 'final';

  constructor(kind: RemoteError['kind'], message: string) {
    super(message);
    this.kind = kind;
  }
}

/** What an HTTP status other than success means. */
export function statusError(status: number, credentials: string): RemoteError {
  if (status === 401 || status === 403) {
    return new RemoteError('final', `it refuses the request (${status}): see that ${credentials} may do this`);
  }
  if (status >= 300 && status < 400) {
    return new RemoteError('final', `it answers ${status}, a redirection: write the address that it leads to`);
  }
  const isPassing = status >= 500 || status === 408 || status === 429;
  return new RemoteError(isPassing ? 'passing' : 'final', `it answers ${status}`);
}
