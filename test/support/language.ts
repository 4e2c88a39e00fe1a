/** Loads pipelines written in a test, with stage modules that exist only by their interfaces. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { PipelineError } from '../../engine/diagnostics.ts';
import type { Graph, StageResolver } from '../../engine/graph.ts';
import { type LoadedGraph, type LoadOptions, loadGraph } from '../../engine/load.ts';
import type { StageInterface } from '../../engine/stage.ts';

/** Three stages that are enough to say everything: a source, one in the middle, one that takes a fan-in. */
export const interfaces: Readonly<Record<string, StageInterface>> = {
  download: {
    description: 'Fetches a file.',
    params: {
      from: { type: 'string', description: 'Where it comes from.', format: 'source' },
      sha256: { type: 'string', description: 'What it must be.', default: '', pattern: '^([0-9a-f]{64})?$' },
    },
    inputs: {},
    outputs: { file: { description: 'The file.', path: 'file' } },
  },
  train: {
    description: 'Trains an adapter.',
    params: {
      rank: { type: 'integer', description: 'Rank of the adapter.', default: 8, minimum: 1 },
      lr: { type: 'number', description: 'Learning rate.', default: 0.001, exclusiveMinimum: 0 },
      targets: {
        type: 'array',
        description: 'Matrices.',
        default: ['q', 'v'],
        minItems: 1,
        items: { type: 'string', enum: ['q', 'k', 'v', 'o'] },
      },
      precision: { type: 'string', description: 'Of the base.', default: 'bf16', enum: ['bf16', 'nf4'] },
      dropout: { type: 'boolean', description: 'Whether to drop.', default: false },
    },
    inputs: {
      data: { description: 'Records to train on.' },
      base: { description: 'The model to begin with.', optional: true },
    },
    outputs: {
      model: { description: 'The adapter.', path: 'model' },
      curve: { description: 'The loss.', path: 'curve.csv' },
    },
  },
  compare: {
    description: 'Compares.',
    params: {},
    inputs: { evals: { description: 'What to compare.', many: true } },
    outputs: { tables: { description: 'The tables.', path: 'tables' } },
  },
};

export const resolver: StageResolver = {
  resolve: async (name) => {
    const found = Object.hasOwn(interfaces, name) ? interfaces[name] : undefined;
    return found === undefined
      ? { unknown: name, known: Object.keys(interfaces) }
      : { name, module: `/stages/${name}.ts`, interface: found };
  },
  list: async () =>
    Object.entries(interfaces).map(([name, found]) => ({ name, module: `/stages/${name}.ts`, interface: found })),
};

/** A folder that holds the given files and is removed after the test. */
export function projectWith(files: Readonly<Record<string, string | Uint8Array>>): string {
  const root = mkdtempSync(join(tmpdir(), 'pipe-language-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

type Extra = Pick<LoadOptions, 'profile' | 'params' | 'sets'> & { readonly files?: Readonly<Record<string, string>> };

/** Loads `p.yaml` with the given text. */
export async function load(text: string | Uint8Array, { files = {}, ...options }: Extra = {}): Promise<LoadedGraph> {
  return loadGraph({ file: 'p.yaml', root: projectWith({ 'p.yaml': text, ...files }), resolver, ...options });
}

/** The graph of `p.yaml`. */
export async function graphOf(text: string, extra: Extra = {}): Promise<Graph> {
  return (await load(text, extra)).graph;
}

/** The report about a pipeline that must be refused. */
export async function reportOf(text: string | Uint8Array, extra: Extra = {}): Promise<string> {
  try {
    await load(text, extra);
  } catch (error) {
    if (error instanceof PipelineError) return error.message;
    throw error;
  }
  throw new Error('the pipeline was accepted');
}
