/** What the store keeps: the manifest that a task's key is the digest of, and the record kept under that key. */
import type { Json } from './stage.ts';

/** A lower-case hexadecimal sha256. */
export type Digest = string;

/** All that a task's result depends on, readable. The sha256 of its canonical JSON is the task's key. */
export interface Manifest {
  /** Version of this format; a change of the format makes everything stale. */
  readonly contract: 1;
  /** The stage module's name, or the command. The name of the pipeline's entry is left out, so that pipelines share tasks. */
  readonly action: { readonly uses: string } | { readonly run: readonly string[] | string; readonly shell: boolean };
  /** Digest of the code listing (a blob: source file or npm package -> digest or version); null for a command. */
  readonly code: Digest | null;
  readonly params: Readonly<Record<string, Json>>;
  /** What an accelerated stage computed on; absent for the CPU, and for stages that use nothing else. */
  readonly device?: 'cuda';
  readonly env: Readonly<Record<string, string>>;
  /** Secret -> its keyed fingerprint; absent where there are none. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** Input name (`param:NAME` for a source parameter, `lineage:NAME` for a lineage) -> content digest, or a fan-in's members in order. */
  readonly inputs: Readonly<Record<string, Digest | readonly ManifestMember[]>>;
  readonly outputs: Readonly<Record<string, string>>;
}
export interface ManifestMember {
  readonly axes: Readonly<Record<string, Json>>;
  readonly digest: Digest;
}

/** An artifact: a file (its digest is the sha256 of its bytes) or a folder (of its listing, itself a blob). */
export interface Artifact {
  readonly kind: 'file' | 'folder';
  readonly digest: Digest;
  /** Total size of the content. */
  readonly bytes: number;
}

/** The machine that a task ran on. */
export interface Host {
  readonly name: string;
  readonly platform: string;
  readonly cpu: string;
  readonly cores: number;
  readonly node: string;
}

/** A job of a cluster. */
export interface JobName {
  readonly cluster: string;
  readonly id: string;
}

/** The lineage of one execution, kept under `cache/ac/<2>/<key>`. */
export interface TaskRecord {
  readonly key: Digest;
  readonly manifest: Manifest;
  readonly outputs: Readonly<Record<string, Artifact>>;
  readonly log: Digest;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly seconds: number;
  readonly host: Host;
  /** The cluster's job that ran it; absent when it ran on the machine of the run itself. */
  readonly job?: JobName;
  /** What the stage reported through `measure`: never part of a key or an artifact. */
  readonly measurements: Readonly<Record<string, number | string>>;
  readonly run: string;
  readonly task: string;
  /**
   * Input name -> the key of the execution whose artifact it read, or those of a fan-in's members in order. Outside the key,
   * which holds content alone: equal content from another execution is as good, but lineage must name the one that it was.
   */
  readonly producers: Readonly<Record<string, Digest | readonly Digest[]>>;
  /** Input name (or `param:NAME`) -> where a file that no task makes lay, relative to the project: for people, outside the key. */
  readonly sources: Readonly<Record<string, string>>;
  /** Other results that were recorded under this key before, the newest first: the task is not deterministic. Absent when there are none. */
  readonly divergent?: readonly EarlierResult[];
}

/** What an earlier execution with the same key gave. */
export interface EarlierResult extends Pick<TaskRecord, 'outputs' | 'startedAt' | 'run'> {
  /** The name of the machine that it ran on. */
  readonly host: string;
}

/** The artifacts in which two results of one key differ, by name. */
export function differingOutputs(one: TaskRecord['outputs'], other: TaskRecord['outputs']): string[] {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].filter((name) => one[name]?.digest !== other[name]?.digest).sort();
}
