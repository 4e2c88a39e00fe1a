/** The sha256 of files: large ones several at a time, a core for each. */
import { createHash, hash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import type { Worker as Thread } from 'node:worker_threads';
import type { Digest } from './record.ts';

/** Below this size one synchronous read is cheaper than a stream's promises. */
const smallFile = 1 << 20;
/** From this size on a file takes many times as long as a thread to start. */
const largeFile = 64 << 20;
const chunkBytes = 4 << 20;

/** How many files are being digested by this thread. */
let here = 0;

/**
 * The sha256 of a file's bytes. Reads the next chunk while it digests the last; never holds more than two chunks. While this
 * thread digests a file, another that is large is digested by a thread of its own, if there is a core for it.
 * @throws Error as `open` and `read` do.
 */
export async function digestFile(path: string): Promise<Digest> {
  const { size } = statSync(path);
  if (size <= smallFile) return hash('sha256', readFileSync(path));
  const thread = here > 0 && size >= largeFile ? takeThread() : null;
  if (thread !== null) return digestIn(thread, path);
  here += 1;
  try {
    const file = await open(path, 'r');
    try {
      return await digestHandle(file);
    } finally {
      await file.close();
    }
  } finally {
    here -= 1;
  }
}

async function digestHandle(file: FileHandle): Promise<Digest> {
  const digest = createHash('sha256');
  let reading = Buffer.allocUnsafeSlow(chunkBytes);
  let spare = Buffer.allocUnsafeSlow(chunkBytes);
  let pending = file.read(reading, 0, chunkBytes, null);
  for (;;) {
    const { bytesRead } = await pending;
    if (bytesRead === 0) return digest.digest('hex');
    const full = reading;
    reading = spare;
    spare = full;
    pending = file.read(reading, 0, chunkBytes, null);
    digest.update(full.subarray(0, bytesRead));
  }
}

/** What a thread answers: a file's digest, or what `open` or `read` threw. */
type Answer = { readonly digest: Digest } | { readonly message: string; readonly code: string | undefined };

const idle: Thread[] = [];
let started = 0;

/** A thread that has nothing to do; null when there is no core for one more. */
function takeThread(): Thread | null {
  const thread = idle.pop();
  if (thread !== undefined) return thread;
  if (started >= availableParallelism() - 1) return null;
  started += 1;
  // Loaded here: most processes never need one.
  const { Worker } = process.getBuiltinModule('node:worker_threads');
  return new Worker(`(${answerWithDigests})(${chunkBytes})`, { eval: true });
}

function digestIn(thread: Thread, path: string): Promise<Digest> {
  return new Promise((resolve, reject) => {
    const died = (error: Error) => {
      started -= 1;
      reject(error);
    };
    thread.once('error', died);
    thread.once('message', (answer: Answer) => {
      thread.off('error', died);
      // An idle one keeps no process alive.
      thread.unref();
      idle.push(thread);
      if ('digest' in answer) resolve(answer.digest);
      else reject(Object.assign(new Error(answer.message), { code: answer.code }));
    });
    thread.ref();
    thread.postMessage(path);
  });
}

/** What threads do. It is given to them as text, so that it needs no file of its own, and uses nothing of this module. */
function answerWithDigests(chunkBytes: number): void {
  const { parentPort } = process.getBuiltinModule('node:worker_threads');
  const { createHash } = process.getBuiltinModule('node:crypto');
  const { closeSync, openSync, readSync } = process.getBuiltinModule('node:fs');
  const buffer = Buffer.allocUnsafeSlow(chunkBytes);
  const digestOf = (path: string) => {
    const file = openSync(path, 'r');
    try {
      const digest = createHash('sha256');
      for (let bytes = readSync(file, buffer); bytes > 0; bytes = readSync(file, buffer)) {
        digest.update(buffer.subarray(0, bytes));
      }
      return digest.digest('hex');
    } finally {
      closeSync(file);
    }
  };
  parentPort!.on('message', (path: string) => {
    try {
      parentPort!.postMessage({ digest: digestOf(path) });
    } catch (thrown) {
      const { message, code } = thrown as NodeJS.ErrnoException;
      parentPort!.postMessage({ message, code });
    }
  });
}
