/** What a batch system must offer so that tasks can run as its jobs: submit, list, cancel. Everything else is in batch.ts. */
import type { Resources } from '../graph.ts';
import type { Complaint } from '../protocol.ts';

/** Jobs of one shape that are submitted in one call. */
export interface Submission {
  /** For people who look at the queue. */
  readonly name: string;
  readonly stage: string;
  /** Unique: by it the jobs are found again when the answer to the submission was lost. */
  readonly tag: string;
  /** For each job, the shell script that it runs (an absolute path), with its id in PIPE_JOB and its node's name in PIPE_NODE. */
  readonly scripts: readonly string[];
  readonly resources: Resources;
  readonly timeoutSeconds: number | null;
}

/** What a batch system says of a job. */
export type Phase =
  /** `obstacle` when it waits for more than its turn. */
  | { readonly kind: 'waiting'; readonly obstacle: string | null }
  /** It waits for what will not come, unless the system says so while it is starting itself. */
  | { readonly kind: 'stuck'; readonly complaint: Complaint }
  | { readonly kind: 'running' }
  /** The complaint is null when it ended by itself: its own word says how. That counts for more than a complaint, too. */
  | { readonly kind: 'over'; readonly complaint: Complaint | null };

/** A job as the batch system lists it. */
export interface Listed {
  readonly tag: string;
  readonly index: number;
  readonly id: string;
  readonly phase: Phase;
}

export interface Scheduler {
  /** For messages: `Slurm`. */
  readonly title: string;
  /** Asks whether the system answers. @throws UnavailableError when it does not */
  connect(): Promise<{ readonly cluster: string; readonly mostInOneCall: number }>;
  /**
   * Submits jobs. @returns the id of each, in order
   * @throws SilentError when nobody answered, and it is not known whether the jobs were taken
   * @throws RefusedError when they were refused
   */
  submit(submission: Submission): Promise<readonly string[]>;
  /** All jobs of this user that are tagged by this program, as far as the system remembers them. @throws SilentError */
  list(): Promise<readonly Listed[]>;
  /** Cancels jobs; those that are over count as cancelled. @throws SilentError */
  cancel(ids: readonly string[]): Promise<void>;
}

/** The batch system did not answer, in time or at all: it may do so later. */
export class SilentError extends Error {}

/** The batch system does not want these jobs. */
export class RefusedError extends Error {}
