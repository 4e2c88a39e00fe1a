/** What a run knows of an attempt that is with a batch system, from the moment that it is given to it to its end. */
import { existsSync } from 'node:fs';
import type { Ended, Order, OrderListener } from '../executor.ts';
import { readLog } from '../logs.ts';
import type { Complaint } from '../protocol.ts';
import { type JobFiles, type LastWord, ReplyReader } from './jobs_folder.ts';

/** A job by its tag and index, and by the id that the system gave it. */
export interface SubmittedJob {
  readonly tag: string;
  readonly index: number;
  readonly id: string;
}

/** For names and messages. */
export interface System {
  readonly title: string;
  readonly cluster: string;
}

export class Ticket {
  readonly order: Order;
  readonly files: JobFiles;
  readonly listener: OrderListener;
  readonly signal: AbortSignal;
  readonly ended: Promise<Ended>;
  /** Null until it is submitted. */
  job: SubmittedJob | null;
  /** What the batch system said when the job was over, and when it was first seen to be. */
  over: { readonly complaint: Complaint | null; readonly since: number } | null = null;
  /** How often in a row the batch system did not know the job, or said that it would never start. */
  doubts = 0;
  /** The last reason for waiting that was told. */
  obstacle: string | null = null;
  readonly #system: System;
  readonly #replies: ReplyReader;
  #started = false;
  #word: LastWord | null = null;
  #isOpen = true;
  #resolve: (ended: Ended) => void = () => undefined;
  #reject: (thrown: unknown) => void = () => undefined;

  constructor(
    system: System,
    order: Order,
    files: JobFiles,
    listener: OrderListener,
    signal: AbortSignal,
    job: SubmittedJob | null,
  ) {
    this.#system = system;
    this.order = order;
    this.files = files;
    this.listener = listener;
    this.signal = signal;
    this.job = job;
    this.#replies = new ReplyReader(files.replies);
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Its job has begun. */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.listener.started(this.files.log);
  }

  /** Passes on what the task has told since. */
  hear(): void {
    if (!this.#started) return;
    for (const told of this.#replies.next()) {
      if (told.type === 'progress') this.listener.progress(told.done, told.total);
      else if (told.type === 'warning') this.listener.warn(told.message);
      else if (told.type === 'measure') this.listener.measure(told.name, told.value);
      else this.#word = told;
    }
  }

  /** Ends it by the job's own word. @returns whether there is one */
  endByWord(): boolean {
    if (this.#word === null) return false;
    const { complaint, startedAt, seconds, host, job } = this.#word;
    if (complaint !== null) this.#settle({ complaint, log: this.#log() });
    else {
      const name = { cluster: this.#system.cluster, id: this.job?.id ?? job };
      this.#settle({ complaint, log: this.#log(), startedAt: new Date(startedAt), seconds, host, job: name });
    }
    return true;
  }

  /** Ends it with a complaint; null when the job ended by itself and should have said how. */
  end(given: Complaint | null): void {
    const complaint = given ?? this.#wordless();
    const message =
      this.job === null ? complaint.message : `${this.#system.title} job ${this.job.id}: ${complaint.message}`;
    this.#settle({ complaint: { ...complaint, message }, log: this.#log() });
  }

  /** The run does not want it any more. */
  endCancelled(): void {
    this.end({ kind: 'crash', message: 'it was cancelled' });
  }

  fail(thrown: unknown): void {
    this.#isOpen = false;
    this.#reject(thrown);
  }

  #settle(ended: Ended): void {
    this.#isOpen = false;
    this.#resolve(ended);
  }

  #log(): Buffer {
    return existsSync(this.files.log) ? readLog(this.files.log) : Buffer.alloc(0);
  }

  /** The program on the node died, or could not begin. */
  #wordless(): Complaint {
    const code = this.files.exitCode();
    if (code !== null) return { kind: 'crash', message: `it ended with exit code ${code} before the task was done` };
    const message = `it ended and left no word of how. Do all nodes see ${this.files.folder}, and ${process.execPath}?`;
    return { kind: 'lost', message };
  }
}
