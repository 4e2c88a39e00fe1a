/** Reads pipe.config.yaml: what holds for all pipelines of a project. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import configSchema from './config.schema.json' with { type: 'json' };
import { DiagnosticList, sourceText } from './diagnostics.ts';
import { errorCode } from './errors.ts';
import { SchemaChecker } from './schema.ts';
import { parseYaml, toJson } from './source.ts';

/** The shared cache as the file has it. */
export interface CacheConfig {
  readonly remote: string;
  readonly mode?: 'read-write' | 'read-only';
  readonly compression?: 'zstd' | 'none';
  readonly timeout?: number;
  readonly endpoint?: string;
  readonly region?: string;
}

/** How tasks become jobs of Slurm. */
export interface SlurmConfig {
  readonly options?: readonly string[];
  readonly stages?: Readonly<Record<string, readonly string[]>>;
  readonly patience?: number;
}

export interface Config {
  readonly slurm?: SlurmConfig;
  readonly cache?: string | CacheConfig;
  /** `copy`: what is published is never a hard link into the store. */
  readonly link?: 'auto' | 'copy';
}

export const configName = 'pipe.config.yaml';

/**
 * The configuration of the project at `root`; empty when there is no file.
 * @throws PipelineError with every finding in the file
 */
export function readConfig(root: string): Config {
  let text: string;
  try {
    text = readFileSync(join(root, configName), 'utf8');
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return {};
    throw thrown;
  }
  const diagnostics = new DiagnosticList();
  const tree = parseYaml(sourceText('file', configName, text), diagnostics);
  // A file that holds nothing, or only comments, says nothing.
  const isEmpty = tree?.kind === 'scalar' && tree.value === null;
  if (tree !== null && !isEmpty) new SchemaChecker().checkFile(configSchema, tree, diagnostics);
  diagnostics.throwIfAny();
  return isEmpty || tree === null ? {} : (toJson(tree) as Config);
}
