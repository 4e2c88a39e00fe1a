/** How much of their work the shipped pipelines share, by what each task computes: nothing is run. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Graph, InputRef } from '../engine/graph.ts';
import { loadGraph } from '../engine/load.ts';
import { selectTasks } from '../engine/select.ts';
import { openWorkspace, type Workspace } from '../engine/workspace.ts';
import { documentation, repository } from './support/documents.ts';

let workspace: Workspace;
beforeAll(() => {
  workspace = openWorkspace(repository);
});
afterAll(() => workspace.close());

/** What the tasks of a run compute: a digest of action, parameters and where inputs come from, whatever stages are called. */
async function computed(pipeline: string, params: readonly string[] = []): Promise<readonly string[]> {
  const file = `pipelines/${pipeline}.yaml`;
  const { graph } = await loadGraph({ file, root: repository, params, resolver: workspace.stages });
  const digests = digestsOf(graph);
  return selectTasks(graph, []).map(({ id }) => digests.get(id)!);
}

/** Tasks come before those that read them. */
function digestsOf({ tasks }: Graph): ReadonlyMap<string, string> {
  const digests = new Map<string, string>();
  const source = (ref: InputRef): unknown => {
    if (ref.kind === 'artifact') return [digests.get(ref.task), ref.artifact];
    if (ref.kind === 'all') return ref.members.map(({ task, artifact, axes }) => [digests.get(task), artifact, axes]);
    return ref;
  };
  for (const { id, action, params, inputs } of tasks) {
    const from = Object.entries(inputs).map(([name, ref]) => [name, source(ref)]);
    digests.set(
      id,
      createHash('sha256')
        .update(JSON.stringify([action, params, from]))
        .digest('hex'),
    );
  }
  return digests;
}

/** Of all tasks of the pipelines, those that are also a task of another of them. */
function shared(pipelines: readonly (readonly string[])[]): { readonly all: number; readonly shared: number } {
  const count = (own: readonly string[], i: number) =>
    own.filter((digest) => pipelines.some((other, j) => i !== j && other.includes(digest))).length;
  const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
  return { all: sum(pipelines.map(({ length }) => length)), shared: sum(pipelines.map(count)) };
}

const parts = ['quantization-impact', 'layer-sensitivity', 'rank-threshold'];
const others = ['memory', 'extreme-bits', 'mixed-precision', 'tasks', 'bias-probe', 'published-adapters'];

test('the pipelines share 60 % of their tasks and more, as docs/study.md says', async () => {
  const ten = shared(await Promise.all(['diagnostic', ...parts, ...others].map((one) => computed(one))));
  const three = shared(await Promise.all(parts.map((part) => computed(part, ['seeds=[42,43,44,45,46]']))));
  expect(ten.shared / ten.all).toBeGreaterThanOrEqual(0.6);
  const told = ({ all, shared }: typeof ten) => [
    `${all.toLocaleString('en')} tasks`,
    `${shared.toLocaleString('en')} (${Math.round((100 * shared) / all)} %)`,
  ];
  const { prose } = documentation().find(({ path }) => path === 'docs/study.md')!;
  const text = prose.replaceAll(/\s+/g, ' ');
  for (const words of [ten, three].flatMap(told)) expect(text).toContain(words);
});
