/** The shared cache of a project: which results it has, bringing them here, and sending ours there. */
import { rmSync } from 'node:fs';
import PQueue from 'p-queue';
import { parseListing } from '../digest.ts';
import { messageOf } from '../errors.ts';
import type { EventBody, RemoteTally } from '../events.ts';
import { forgetPromise, keepPromise, readPromise } from '../promises.ts';
import type { Artifact, Digest, TaskRecord } from '../record.ts';
import type { Store } from '../store.ts';
import { openLink } from './link.ts';
import { RemoteError } from './remote.ts';
import { openRemote, readSharedSettings, type SharedSettings } from './settings.ts';
import { DistrustError, foreignText, readForeignRecord } from './trust.ts';
import { bytesBody, fileBody, packedBody } from './wire.ts';

/** How many results are sent at a time. */
const sentAtOnce = 4;
/** The largest log, code listing or folder listing that is fetched. */
const largestText = 1 << 30;

/**
 * A cache beside the local one. The local store stays the truth of a run: what this one has is asked for by key, and comes into
 * the store only when it is needed, digested and whole. Nothing here fails a run: what cannot be had counts as absent.
 */
export interface SharedCache {
  /** Its address, as it is told to people. */
  readonly name: string;
  readonly settings: SharedSettings;
  /** The record under a key if it has one that can be believed. Its blobs stay where they are. */
  ask(key: Digest): Promise<TaskRecord | null>;
  /** Brings all blobs of a record, and the record, into the store. @returns whether they are all there now */
  fetch(record: TaskRecord): Promise<boolean>;
  /** Notes that results were taken; those that an earlier process took already do not count again. */
  noteTaken(keys: Iterable<Digest>): void;
  /** Sends a result in the background, if the cache may be written. */
  offer(record: TaskRecord): void;
  /** Sends a result that it lacks. @returns what became of it */
  push(record: TaskRecord): Promise<'sent' | 'there' | 'unsent'>;
  /** Whether it has a result, or `unknown` when it does not say. */
  has(key: Digest): Promise<boolean | 'unknown'>;
  /** Waits until all that was offered has been sent or given up, and says what there was. The signal ends the waiting. */
  finish(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens the shared cache of the project at `root`; null when it has none.
 * @throws UsageError when what configures it is wrong.
 */
export async function openSharedCache(
  root: string,
  store: Store,
  say: (body: EventBody) => void,
): Promise<SharedCache | null> {
  const settings = readSharedSettings(root, process.env);
  if (settings === null) return null;
  const remote = await openRemote(settings.address, process.env);
  const link = openLink(remote, settings.patienceMs, (problem, seconds) =>
    say({ type: 'remote-resting', remote: remote.name, problem, seconds }),
  );
  const pushes = new PQueue({ concurrency: sentAtOnce });
  /** What an earlier process asked for, and whose blobs stayed away since. */
  const promised = new Set<Digest>();
  const answers = new Map<Digest, Promise<TaskRecord | null>>();
  const arriving = new Map<Digest, Promise<boolean>>();
  const sending = new Map<Digest, Promise<void>>();
  /** What came damaged: it is not asked for again, and is sent though something lies there. */
  const damaged = new Set<Digest>();
  const tally = { taken: 0, takenBytes: 0, sent: 0, sentBytes: 0, unsent: 0 };

  function believed(content: Buffer, key: Digest): TaskRecord | null {
    try {
      return readForeignRecord(content, key, settings!.secret);
    } catch (thrown) {
      if (!(thrown instanceof DistrustError)) throw thrown;
      forgetPromise(store.cache, key);
      say({ type: 'remote-distrusted', remote: remote.name, key, problem: thrown.message });
      return null;
    }
  }

  async function findOut(key: Digest): Promise<TaskRecord | null> {
    const kept = readPromise(store.cache, key);
    if (kept !== null) {
      promised.add(key);
      return believed(kept, key);
    }
    const content = await link.readRecord(key);
    const record = content === null ? null : believed(content, key);
    if (record !== null) keepPromise(store.cache, key, content!);
    return record;
  }

  function ask(key: Digest): Promise<TaskRecord | null> {
    let answer = answers.get(key);
    if (answer === undefined) {
      answer = findOut(key).catch(absentFor(null));
      answers.set(key, answer);
    }
    return answer;
  }

  /** Brings one blob into the store. @returns whether it is there now, `bytes` long if that is given */
  function bring(digest: Digest, bytes: number | null): Promise<boolean> {
    let arrival = arriving.get(digest);
    if (arrival === undefined) {
      arrival = store
        .isSound(digest, bytes ?? undefined)
        .then((isHere) => isHere || (!damaged.has(digest) && receive(digest, bytes ?? largestText)));
      arriving.set(digest, arrival);
      // Only while it is under way: what has arrived is in the store.
      void arrival.catch(() => undefined).finally(() => arriving.delete(digest));
    }
    return arrival;
  }

  async function receive(digest: Digest, limit: number): Promise<boolean> {
    const path = store.newFile();
    try {
      const arrival = await link.download(digest, path, limit);
      switch (arrival.kind) {
        case 'whole':
          await store.takeBlob(path, digest);
          tally.takenBytes += arrival.bytes;
          return true;
        case 'wrong':
          damaged.add(digest);
          store.quarantine(path, arrival.problem, `${remote.name.replace(/\/$/, '')}/cas/${digest}`);
          return false;
        case 'absent':
          return false;
      }
    } finally {
      rmSync(path, { force: true });
    }
  }

  async function bringArtifact({ kind, digest, bytes }: Artifact): Promise<boolean> {
    if (kind === 'file') return bring(digest, bytes);
    if (!(await bring(digest, null))) return false;
    const entries = parseListing(store.readBlob(digest).toString('utf8'));
    const files = entries.flatMap((entry) => (entry.digest === null ? [] : [bring(entry.digest, entry.bytes)]));
    return (await Promise.all(files)).every(Boolean);
  }

  async function fetch(record: TaskRecord): Promise<boolean> {
    const { key, outputs, log, manifest } = record;
    const parts = [bring(log, null), ...Object.values(outputs).map(bringArtifact)];
    if (manifest.code !== null) parts.push(bring(manifest.code, null));
    let isWhole: boolean;
    try {
      isWhole = (await Promise.all(parts)).every(Boolean);
    } catch (thrown) {
      await Promise.allSettled(parts);
      if (!(thrown instanceof RemoteError)) {
        say({ type: 'remote-distrusted', remote: remote.name, key, problem: messageOf(thrown) });
      }
      isWhole = false;
    }
    if (isWhole) await store.deposit().commit(record);
    forgetPromise(store.cache, key);
    promised.delete(key);
    if (!isWhole) answers.set(key, Promise.resolve(null));
    return isWhole;
  }

  function blobsOf({ outputs, log, manifest }: TaskRecord): Digest[] {
    const digests = [log, ...(manifest.code === null ? [] : [manifest.code])];
    for (const { kind, digest } of Object.values(outputs)) {
      digests.push(digest);
      if (kind === 'file') continue;
      for (const entry of store.entriesOf(digest)) if (entry.digest !== null) digests.push(entry.digest);
    }
    return digests;
  }

  function sendBlob(digest: Digest): Promise<void> {
    let sent = sending.get(digest);
    if (sent === undefined) {
      sent = sendOnce(digest);
      sending.set(digest, sent);
    }
    return sent;
  }

  async function sendOnce(digest: Digest): Promise<void> {
    if (!damaged.has(digest) && (await link.has('cas', digest))) return;
    if (!(await store.isSound(digest))) throw new RemoteError('final', `the blob ${digest} is damaged here`);
    const path = store.blobPath(digest);
    const spare = store.newFile();
    try {
      const isPacked = remote.isWire && settings!.compresses;
      const body = isPacked ? await packedBody(path, spare) : fileBody(path);
      await link.upload('cas', digest, body);
      tally.sentBytes += body.bytes;
    } finally {
      rmSync(spare, { force: true });
    }
  }

  /** Blobs first, the record last: a record there never names a blob that never was. */
  async function send(record: TaskRecord): Promise<'sent' | 'unsent'> {
    try {
      await Promise.all(blobsOf(record).map(sendBlob));
      await link.upload('ac', record.key, bytesBody(Buffer.from(foreignText(record, settings!.secret))));
      tally.sent += 1;
      return 'sent';
    } catch {
      // The link has said what is wrong with the remote.
      tally.unsent += 1;
      return 'unsent';
    }
  }

  return {
    name: remote.name,
    settings,
    ask,
    fetch,
    noteTaken(keys) {
      for (const key of keys) if (!promised.has(key)) tally.taken += 1;
    },
    offer(record) {
      if (settings.isWritable) void pushes.add(() => send(record));
    },
    push: (record) =>
      pushes.add(async () => {
        const isThere = await link.has('ac', record.key).catch(absentFor(false));
        return isThere ? 'there' : send(record);
      }),
    has: (key) => link.has('ac', key).catch(absentFor('unknown' as const)),
    async finish(signal) {
      const leave = () => link.abandon();
      signal.addEventListener('abort', leave, { once: true });
      if (signal.aborted) leave();
      await pushes.onIdle();
      signal.removeEventListener('abort', leave);
      const told: RemoteTally = { ...tally };
      if (tally.taken + tally.sent + tally.unsent > 0) say({ type: 'remote-tally', remote: remote.name, ...told });
      Object.assign(tally, { taken: 0, takenBytes: 0, sent: 0, sentBytes: 0, unsent: 0 });
    },
    close: async () => {
      link.abandon();
      await link.close();
    },
  };
}

/** What a remote that does not answer counts as. */
function absentFor<T>(value: T): (thrown: unknown) => T {
  return (thrown) => {
    if (thrown instanceof RemoteError) return value;
    throw thrown;
  };
}
