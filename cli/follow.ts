/** Follows the output of a task while another process runs it. */
import { closeSync, createReadStream, fstatSync, openSync, readSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { errorCode } from '../engine/errors.ts';
import { followJournal } from '../engine/journal.ts';
import { taskLog } from '../engine/runs.ts';
import type { Store } from '../engine/store.ts';

/** How often new output is looked for. */
const lookMs = 100;

/**
 * Prints what a task of a run under way writes, from the beginning of its log, until it ends. A retry begins a new log.
 * @returns whether the task was executed: false when the run ended without it.
 */
export async function followTask(store: Store, run: string, task: string, signal: AbortSignal): Promise<boolean> {
  const tail = new Tail();
  const timer = setInterval(() => tail.pump(), lookMs);
  try {
    for await (const event of followJournal(store.cache, run, signal)) {
      if (!('task' in event) || event.task !== task) continue;
      if (event.type === 'task-started') tail.begin(event.log);
      else if (event.type === 'task-retried') tail.end();
      else if (event.type === 'task-done' || event.type === 'task-failed') {
        const printed = tail.end();
        // The worker may write another task's log over this one by now: the end is read from the log that was kept.
        const kept = taskLog(store, task, { run });
        const path = kept?.path ?? (event.type === 'task-failed' ? event.log : null);
        if (path !== null) await pipeline(createReadStream(path, { start: printed }), process.stdout, { end: false });
        return true;
      }
    }
    return false;
  } finally {
    clearInterval(timer);
  }
}

/** The growing end of a log file. */
class Tail {
  #file: number | null = null;
  #at = 0;
  readonly #piece = Buffer.alloc(1 << 16);

  begin(path: string): void {
    this.end();
    try {
      this.#file = openSync(path, 'r');
    } catch (thrown) {
      if (errorCode(thrown) !== 'ENOENT') throw thrown;
    }
  }

  pump(): void {
    if (this.#file === null) return;
    // A shorter file is the next task's.
    if (fstatSync(this.#file).size < this.#at) return;
    for (;;) {
      const length = readSync(this.#file, this.#piece, 0, this.#piece.length, this.#at);
      if (length === 0) return;
      process.stdout.write(this.#piece.subarray(0, length));
      this.#at += length;
    }
  }

  /** @returns how many bytes were printed. */
  end(): number {
    const printed = this.#at;
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
    this.#at = 0;
    return printed;
  }
}
