/** Where tasks run: the contract between the engine and what runs them, processes of this machine or jobs of a cluster. */
import { UsageError } from './errors.ts';
import type { Resources } from './graph.ts';
import type { Complaint, Job, Listener } from './protocol.ts';
import type { Digest, Host, JobName } from './record.ts';

/** A private folder for one attempt at a task. */
export interface Place {
  /** Does not exist yet. */
  readonly home: string;
  /** Makes the folder, and in it these and nothing else. Called once at the most. */
  make(folders: readonly string[]): void;
  /**
   * Lets the folder go, and whatever else belongs to the attempt: nothing of it is at this path any more. After an attempt that
   * went well, what is as it was made may serve another under another name.
   */
  leave(wentWell: boolean): Promise<void>;
}

/** An attempt that is laid out: what is to run, where, with what. */
export interface Order {
  readonly key: Digest;
  /** For people: names the task in queues and messages. */
  readonly task: string;
  readonly stage: string;
  readonly place: Place;
  readonly job: Job;
  /** What was granted of the pools. */
  readonly resources: Resources;
  /** How long it may run, from the moment that it starts. */
  readonly timeoutSeconds: number | null;
}

/** What an executor tells while an attempt is with it. */
export interface OrderListener extends Listener {
  /** It is in the queue of a cluster under this name; `adopted` if an earlier run put it there. */
  queued(job: JobName, adopted: boolean): void;
  /** It runs now, and its output goes to this file. */
  started(log: string): void;
}

/** How an attempt ended; what it left in its folder is the engine's to check and to record. */
export type Ended =
  | {
      /**
       * The kind `lost` says that the place where it ran was taken away (a dead node, preemption): the engine tries again,
       * whatever the task's `retry` is.
       */
      readonly complaint: Complaint;
      readonly log: Buffer;
    }
  | {
      readonly complaint: null;
      readonly log: Buffer;
      readonly startedAt: Date;
      readonly seconds: number;
      readonly host: Host;
      /** Null on this machine. */
      readonly job: JobName | null;
    };

/**
 * Runs attempts. The engine decides what runs and when, holds the dependencies, lays out folders and records results; an
 * executor takes one attempt from the moment that it may start to its end, and never touches the store.
 */
export interface Executor {
  /** What there is to share out among tasks, and how many of them may be under way at a time. */
  readonly total: Resources;
  readonly jobs: number;
  /** An attempt at a stage that needs no GPU will come: what takes time to get ready may begin to. Never throws: `run` says what is wrong. */
  expect(): Promise<void>;
  /** A place for a new attempt. */
  place(key: Digest): Place;
  /** The attempt at this key that an earlier run of the project left running, or done well; null where nothing outlives a run. */
  underWay(key: Digest): Promise<Order | null>;
  /**
   * Runs an attempt, or waits for one that is under way. When the signal aborts, the attempt is ended, and this resolves
   * once it is.
   * @throws UnavailableError when nothing can run at all.
   */
  run(order: Order, listener: OrderListener, signal: AbortSignal): Promise<Ended>;
  /** Lets go of everything. Called once, when no attempt is with it any more. */
  close(): Promise<void>;
}

/** An executor cannot be used at all: says why, and what to do. Ends the run; what was recorded stays. */
export class UnavailableError extends UsageError {}
