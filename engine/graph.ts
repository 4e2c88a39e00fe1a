/** The graph that a pipeline file expands to: plain data between the language (parse, expand) and the runtime (plan, run). */
import type { Device } from './devices.ts';
import type { Json, StageInterface } from './stage.ts';

/** A place in a pipeline file (its path relative to the root, or absolute outside it); line and column count from 1. */
export interface Location {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Where an input comes from. */
export type InputRef =
  | { readonly kind: 'artifact'; readonly task: string; readonly artifact: string }
  | { readonly kind: 'all'; readonly members: readonly FanInMember[] }
  /** A file or folder of the project; the path is absolute. */
  | { readonly kind: 'file'; readonly path: string }
  /** The records behind the task's other inputs (engine/ancestry.ts). */
  | { readonly kind: 'lineage' };

/** One member of a fan-in, with the values of the axes that the consumer lacks and those that it shares. */
export interface FanInMember {
  readonly task: string;
  readonly artifact: string;
  readonly axes: Readonly<Record<string, Json>>;
}

/**
 * A command: a list of words, or with `shell: true` the line that the shell gets. In it `{{in:NAME}}` and `{{out:NAME}}` stand
 * for the paths of inputs and outputs, which only the run knows.
 */
export type Command =
  | { readonly shell: false; readonly command: readonly string[] }
  | { readonly shell: true; readonly command: string };

/** What a task does: a stage module, or a command. */
export type Action =
  | { readonly kind: 'uses'; readonly stage: string; readonly module: string }
  | ({ readonly kind: 'run' } & Command);

/** What a task occupies while it runs. Memory in bytes. */
export interface Resources {
  readonly cpu: number;
  readonly gpu: number;
  readonly memory: number;
}

/** One instance of a stage: every matrix axis has a value, every expression is evaluated. */
export interface Task {
  /** `train[precision=nf4,seed=1]`, or `tokenize` for a stage without axes: unique in the graph. */
  readonly id: string;
  /** The entry under `stages:`. */
  readonly stage: string;
  readonly axes: Readonly<Record<string, Json>>;
  readonly action: Action;
  /** Parameters with the stage's defaults filled in, validated. */
  readonly params: Readonly<Record<string, Json>>;
  /** Names of the parameters (`format: 'source'`) whose value is a local path, absolute here: their content joins the key. */
  readonly sources: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Variables of the user's environment that the stage module asks for: outside the key. */
  readonly environment: readonly string[];
  /** Variables of the user's environment that must be set and are shown to nobody: a fingerprint of each joins the key. */
  readonly secrets: readonly string[];
  readonly inputs: Readonly<Record<string, InputRef>>;
  /** Artifact name -> path inside the task's private folder. */
  readonly outputs: Readonly<Record<string, string>>;
  /** Tasks that must be done first though no artifact comes from them. */
  readonly needs: readonly string[];
  readonly timeoutSeconds: number | null;
  readonly retry: number;
  /** What it computes on: `cuda` joins the key, and goes with at least one GPU of its own. */
  readonly device: Device;
  readonly resources: Resources;
  readonly location: Location;
}

/** A file or folder under results/NAME/ and the artifact that is published there. */
export interface Publication {
  readonly path: string;
  readonly task: string;
  readonly artifact: string;
}

/** A pipeline, expanded. Tasks are in topological order: producers come before their consumers. */
export interface Graph {
  readonly name: string;
  readonly description: string;
  /** The project's root folder (absolute): results/, cache/ and stages/ lie under it. */
  readonly root: string;
  readonly profile: string | null;
  readonly params: Readonly<Record<string, Json>>;
  readonly tasks: readonly Task[];
  readonly publications: readonly Publication[];
}

/** Finds a stage module by the name written after `uses:` and says what it declares. Implemented by engine/modules.ts. */
export interface StageResolver {
  /** @returns the module's absolute path and its interface, or the nearest known names when there is none. */
  resolve(name: string, from: string): Promise<ResolvedStage | UnknownStage>;
  /** Every stage that this project can name. */
  list(): Promise<readonly ResolvedStage[]>;
}
export interface ResolvedStage {
  readonly name: string;
  readonly module: string;
  readonly interface: StageInterface;
}
export interface UnknownStage {
  readonly unknown: string;
  readonly known: readonly string[];
}
