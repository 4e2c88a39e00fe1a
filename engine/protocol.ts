/** What the engine and its worker processes say to each other. */
import type { Device } from './devices.ts';
import type { Failure } from './events.ts';
import type { Command } from './graph.ts';
import type { Json, Member, StageInterface } from './stage.ts';

/** A stage to run; all paths are absolute. */
export interface StageJob {
  readonly type: 'stage';
  /** Address of the bundled module. */
  readonly module: string;
  readonly params: Readonly<Record<string, Json>>;
  readonly inputs: Readonly<Record<string, string | readonly Member[]>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  /** Variables like those of `env` whose values are masked in what the stage writes. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly cpus: number;
  readonly device: Device;
  /** The task's private folder, which becomes the working directory. */
  readonly folder: string;
  /** Made, like `retained`, when the stage asks for it. */
  readonly scratch: string;
  readonly retained: string;
}

/** A command to run in the task's private folder. */
export type CommandJob = Command & {
  readonly type: 'command';
  readonly inputs: Readonly<Record<string, string | readonly Member[]>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, string>>;
  readonly folder: string;
  /** Made before the command starts: it is its TMPDIR. */
  readonly scratch: string;
};

export type Job = StageJob | CommandJob;

/** From the engine to a worker. */
export type Request = Job | { readonly type: 'describe'; readonly module: string } | { readonly type: 'abort' };

/** A failure as a worker tells it: the engine adds which task it was. */
export type Complaint = Pick<Failure, 'kind' | 'message' | 'stack'>;

/** What a task tells while it runs. */
export interface Listener {
  progress(done: number, total: number): void;
  measure(name: string, value: number | string): void;
  warn(message: string): void;
}

export type Description = { readonly interface: StageInterface } | { readonly problem: string };

/** From a worker to the engine. */
export type Reply =
  | { readonly type: 'progress'; readonly done: number; readonly total: number }
  | { readonly type: 'warning'; readonly message: string }
  | { readonly type: 'measure'; readonly name: string; readonly value: number | string }
  | { readonly type: 'described'; readonly description: Description }
  | { readonly type: 'finished' }
  | { readonly type: 'failed'; readonly complaint: Complaint };
