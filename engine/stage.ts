/** The contract between the engine and a stage: what a stage module declares, and what it is given when it runs. */

/** A value that YAML and JSON can both hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/**
 * One parameter, described by a subset of JSON Schema. A parameter without a default must be given by the pipeline.
 * `format: 'source'` marks a string that is a URL or the path of a local file or folder: for a path, the engine puts
 * the digest of the content into the manifest, and hands the stage the absolute path.
 */
export interface ParamSpec {
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'array' | 'object';
  readonly description: string;
  readonly default?: Json;
  readonly enum?: readonly Json[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly minItems?: number;
  readonly items?: Omit<ParamSpec, 'description' | 'default'>;
  readonly format?: 'source';
}

/**
 * One input. `many` says that the stage takes a fan-in: the list of all members with their axis values. `lineage` marks one that
 * pipe itself fills: a JSON file (`Ancestry` of engine/ancestry.ts) with the records behind the task's other inputs.
 */
export type InputSpec =
  | { readonly description: string; readonly many?: true; readonly optional?: true; readonly lineage?: never }
  | { readonly description: string; readonly lineage: true; readonly many?: never; readonly optional?: never };

/** One output: a file or a folder at `path` inside the task's private folder. */
export interface OutputSpec {
  readonly description: string;
  readonly path: string;
}

/** A member of a fan-in: where its artifact lies, and the axis values of the task that made it. */
export interface Member {
  readonly path: string;
  readonly axes: Readonly<Record<string, Json>>;
}

/** The TypeScript type of a parameter's value. */
export type ParamValue<S> = S extends { readonly enum: readonly (infer E)[] }
  ? E
  : S extends { readonly type: 'string' }
    ? string
    : S extends { readonly type: 'integer' | 'number' }
      ? number
      : S extends { readonly type: 'boolean' }
        ? boolean
        : S extends { readonly type: 'array'; readonly items: infer I }
          ? ParamValue<I>[]
          : S extends { readonly type: 'array' }
            ? Json[]
            : { [key: string]: Json };

type InputValue<S> =
  | (S extends { readonly many: true } ? Member[] : string)
  | (S extends { readonly optional: true } ? undefined : never);

/** What a running stage is given. Paths are absolute. Inputs are read-only; outputs are where the stage must write. */
export interface StageContext<P, I, O> {
  readonly params: { readonly [K in keyof P]: ParamValue<P[K]> };
  readonly inputs: { readonly [K in keyof I]: InputValue<I[K]> };
  readonly outputs: { readonly [K in keyof O]: string };
  /** How many CPU threads the task was granted. */
  readonly cpus: number;
  /** What to compute on: `cuda` only for an accelerated stage, which then sees no GPUs but those that the task was granted. */
  readonly device: 'cpu' | 'cuda';
  /** A folder for temporary files; removed when the task ends. */
  readonly scratch: string;
  /** A folder of this stage that outlives tasks (partial downloads): it may save work, never change a result. */
  readonly retained: string;
  /** Aborted when the task is cancelled or has run out of time. */
  readonly signal: AbortSignal;
  /** Writes a line to the task's log. */
  log(line: string): void;
  /** Tells the person who runs the pipeline, once a run however many tasks say the same; also written to the log. */
  warn(message: string): void;
  /** Says how far the task is, for the progress display. */
  progress(done: number, total: number): void;
  /** Keeps a measurement (a time, a rate, what it ran on) in the task's record, outside every artifact and key. */
  measure(name: string, value: number | string): void;
}

/** A stage module's default export. */
export interface Stage<
  P extends Readonly<Record<string, ParamSpec>> = Readonly<Record<string, ParamSpec>>,
  I extends Readonly<Record<string, InputSpec>> = Readonly<Record<string, InputSpec>>,
  O extends Readonly<Record<string, OutputSpec>> = Readonly<Record<string, OutputSpec>>,
> {
  readonly description: string;
  readonly params: P;
  readonly inputs: I;
  readonly outputs: O;
  /**
   * Variables of the user's environment that the stage reads, such as the address of a mirror. They are outside the key, so
   * they must not change a result. What is not named here, nor under a pipeline's `env:` or `secrets:`, a stage does not see.
   */
  readonly environment?: readonly string[];
  /** Whether it can compute on a GPU. Where a run does, each of its tasks has one for itself, and the key names the device. */
  readonly accelerated?: boolean;
  run(context: StageContext<P, I, O>): Promise<void> | void;
}

/** What the planner needs of a stage: everything but the code that runs. Plain data, kept in the memo. */
export type StageInterface = Pick<
  Stage,
  'description' | 'params' | 'inputs' | 'outputs' | 'environment' | 'accelerated'
>;

/** An error that a stage throws for bad input: shown to the user without a stack trace. */
export class StageError extends Error {
  override readonly name = 'StageError';
}

/** Declares a stage; the identity function, there for its types. */
export function defineStage<
  const P extends Readonly<Record<string, ParamSpec>>,
  const I extends Readonly<Record<string, InputSpec>>,
  const O extends Readonly<Record<string, OutputSpec>>,
>(stage: Stage<P, I, O>): Stage<P, I, O> {
  return stage;
}
