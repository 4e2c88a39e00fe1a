/** Everything that happens, as one discriminated union: the terminal, the log and JSON lines subscribe; nothing else prints. */
import type { Artifact, Digest, JobName } from './record.ts';
import type { State } from './state.ts';
import type { Reason } from './why.ts';

/** Why an execution of a task did not give a result. */
export interface Failure {
  readonly kind:
    | 'stage-error'
    | 'exception'
    | 'exit-code'
    | 'crash'
    | 'timeout'
    | 'unwritten-output'
    | 'escape'
    | 'input-changed'
    | 'resources'
    /** What it ran on was taken away: a dead node, a preempted job. */
    | 'lost'
    /** A cluster did not take the job. */
    | 'refused'
    | 'store';
  /** What is wrong, where, and what to do; names the task. */
  readonly message: string;
  /** Where a stage threw; absent for errors that a stage means for the user (`StageError`). */
  readonly stack?: string;
}

export interface RunCounts {
  readonly wanted: number;
  readonly executed: number;
  readonly cached: number;
  /** Executed by another run while this one waited. */
  readonly shared: number;
  readonly failed: number;
  readonly skipped: number;
}

/** How many results a shared cache gave and took. */
export interface RemoteTally {
  /** Results that were there, and the bytes of those blobs that were needed here. */
  readonly taken: number;
  readonly takenBytes: number;
  readonly sent: number;
  readonly sentBytes: number;
  /** Results that could not be sent. */
  readonly unsent: number;
}

export type RunStatus = 'done' | 'failed' | 'interrupted';

/** What an event says, apart from when. */
export type EventBody =
  | {
      readonly type: 'run-started';
      readonly run: string;
      readonly pipeline: string;
      readonly profile: string | null;
      readonly wanted: number;
    }
  | { readonly type: 'task-state'; readonly task: string; readonly from: State; readonly to: State }
  | { readonly type: 'task-cached'; readonly task: string; readonly key: Digest }
  /** It is in a cluster's queue; `adopted` when an earlier run put it there. */
  | { readonly type: 'task-queued'; readonly task: string; readonly job: JobName; readonly adopted: boolean }
  | {
      readonly type: 'task-started';
      readonly task: string;
      readonly key: Digest;
      readonly attempt: number;
      readonly reason: Reason;
      /** The file that the running task's output goes to. */
      readonly log: string;
    }
  | { readonly type: 'task-progress'; readonly task: string; readonly done: number; readonly total: number }
  | { readonly type: 'task-measured'; readonly task: string; readonly name: string; readonly value: number | string }
  | { readonly type: 'task-waiting'; readonly task: string; readonly run: string; readonly pid: number }
  | { readonly type: 'task-retried'; readonly task: string; readonly attempt: number; readonly failure: Failure }
  | {
      readonly type: 'task-done';
      readonly task: string;
      readonly key: Digest;
      readonly seconds: number;
      readonly origin: 'executed' | 'shared';
      readonly outputs: Readonly<Record<string, Artifact>>;
    }
  | {
      readonly type: 'task-failed';
      readonly task: string;
      readonly failure: Failure;
      /** The last lines of the log, and the file that holds the rest; null when the task never started. */
      readonly tail: readonly string[];
      readonly log: string | null;
    }
  | {
      readonly type: 'task-skipped';
      readonly task: string;
      readonly because: string;
      /** The failed task that it depends on, if that is why. */
      readonly behind: string | null;
    }
  | { readonly type: 'published'; readonly path: string; readonly task: string; readonly artifact: string }
  | { readonly type: 'unpublished'; readonly path: string }
  | { readonly type: 'quarantined'; readonly path: string; readonly problem: string }
  /** A task gave another result than the one recorded under its key before, in these artifacts; the record keeps both. */
  | {
      readonly type: 'diverged';
      readonly task: string;
      readonly key: Digest;
      readonly artifacts: readonly string[];
      /** The run that the earlier result is of. */
      readonly earlier: string;
    }
  /** A shared cache is out of order and is not asked for some time. */
  | { readonly type: 'remote-resting'; readonly remote: string; readonly problem: string; readonly seconds: number }
  /** A record of a shared cache that is not believed: it counts as absent. */
  | { readonly type: 'remote-distrusted'; readonly remote: string; readonly key: Digest; readonly problem: string }
  /** What a run had to do with a shared cache; bytes as they crossed the network. */
  | ({ readonly type: 'remote-tally'; readonly remote: string } & RemoteTally)
  /** What a task tells the person who runs the pipeline; the same message once a run. */
  | { readonly type: 'warning'; readonly task: string; readonly message: string }
  | {
      readonly type: 'run-finished';
      readonly run: string;
      readonly status: RunStatus;
      readonly counts: RunCounts;
      readonly seconds: number;
    };

/** One thing that happened; `at` is in milliseconds since 1970, UTC. */
export type Event = EventBody & { readonly at: number };

export type Emit = (event: Event) => void;

/** Puts the time on what is said and hands it on. */
export function stamped(emit: Emit): (body: EventBody) => void {
  return (body) => emit({ ...body, at: Date.now() });
}
