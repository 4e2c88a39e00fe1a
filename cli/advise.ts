/** `pipe advise`: what fits into a memory. It asks the pipeline advise.yaml, whose stages know what a model is; this does not. */
import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { UsageError } from '../engine/errors.ts';
import { openProject } from '../engine/project.ts';
import { parseBytes } from '../engine/quantity.ts';
import { answer } from './answer.ts';

export interface AdviseOptions {
  readonly model?: string;
  readonly memory: string;
  readonly targets?: string;
  readonly rank?: readonly number[];
  readonly length?: number;
  readonly results?: string;
  readonly json?: true;
}

/** @returns 0 when there is an answer, 1 when a stage failed. @throws UsageError for a memory or a folder that is none. */
export async function advise({ rank, results, json, ...options }: AdviseOptions): Promise<number> {
  const memory = parseBytes(options.memory);
  if (memory === null || memory === 0) {
    throw new UsageError(`--memory ${options.memory} is not a size\n  write 8GB, 24GiB or a number of bytes`);
  }
  const project = openProject(process.cwd());
  const params = {
    ...given({ targets: options.targets, length: options.length, ranks: rank }),
    ...modelOf(options.model),
    ...resultsOf(results, project.results),
    memory,
  };
  const file = join(project.packageRoot, 'pipelines', 'advise.yaml');
  const content = await answer({ file, params, task: 'advise', output: json ? 'json' : 'text' });
  if (content === null) return 1;
  process.stdout.write(content);
  return 0;
}

/** A name, or the folder of a model: what is a folder is taken for one. */
function modelOf(model: string | undefined): Readonly<Record<string, string>> {
  if (model === undefined) return {};
  return statSync(model, { throwIfNoEntry: false })?.isDirectory() ? { folder: resolve(model) } : { model };
}

/** The folder that was named, or the project's own results where there are some. */
function resultsOf(named: string | undefined, own: string): Readonly<Record<string, string>> {
  if (named === undefined) return existsSync(own) ? { results: own } : {};
  if (!existsSync(named)) throw new UsageError(`--results ${named} does not exist`);
  return { results: resolve(named) };
}

function given(options: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
