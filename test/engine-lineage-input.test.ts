/** An input that holds the lineage of the others: what is in it, when it makes a task run again, and that nobody writes it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { Ancestry } from '../engine/ancestry.ts';
import { lineage } from '../engine/lineage.ts';
import { loadGraph } from '../engine/load.ts';
import { makePlan } from '../engine/plan.ts';
import { runPipeline } from '../engine/run.ts';
import { openWorkspace, type Workspace } from '../engine/workspace.ts';
import { echo, makeProject, type TestProject } from './support/engine.ts';

const witness = `import { copyFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'keeps the lineage that it is given',
  params: {},
  inputs: { all: { description: 'texts', many: true }, lineage: { description: 'lineage', lineage: true } },
  outputs: { out: { description: 'the lineage', path: 'lineage.json' } },
  run: ({ inputs, outputs }) => copyFileSync(inputs.lineage, outputs.out),
});
`;

const pipeline = (extra = '') => `name: small
stages:
  first: { uses: echo, with: { text: one } }
  second:
    uses: echo
    matrix: { n: [1, 2] }
    in: { from: first.out }
    with: { text: 'n\${{ matrix.n }}' }
  apart: { uses: echo, with: { text: apart } }
  witness:
    uses: witness
    in: { all: { all: second.out }${extra} }
publish: { lineage.json: witness.out }
`;

let project: TestProject;
let workspace: Workspace;
afterEach(async () => {
  await workspace.close();
  project.remove();
});

function open(text: string): void {
  project = makeProject({
    'stages/echo.ts': echo,
    'stages/witness.ts': witness,
    'pipelines/small.yaml': text,
  });
  workspace = openWorkspace(project.root);
}

const load = () =>
  loadGraph({ file: join(project.root, 'pipelines/small.yaml'), root: project.root, resolver: workspace.stages });

async function run(force: readonly string[] = []) {
  const { graph } = await load();
  const { status, counts } = await runPipeline(workspace, graph, { force }, () => undefined);
  expect(status).toBe('done');
  const text = readFileSync(join(project.root, 'results/small/lineage.json'), 'utf8');
  return { counts, given: JSON.parse(text) as Ancestry };
}

test('a stage is given the records behind its inputs, and runs again when one of them is another', async () => {
  open(pipeline());
  const first = await run();
  expect(first.given.records.map(({ task }) => task).sort()).toEqual(['first', 'second[n=1]', 'second[n=2]']);
  const byKey = new Map(first.given.records.map((record) => [record.key, record]));
  const members = first.given.inputs.all as readonly string[];
  expect(members.map((key) => byKey.get(key)!.manifest.params)).toEqual([{ text: 'n1' }, { text: 'n2' }]);
  const [root] = first.given.records.filter(({ task }) => task === 'first');
  for (const key of members) expect(byKey.get(key)!.producers).toEqual({ from: root!.key });
  expect(root!.host.cpu.length).toBeGreaterThan(0);
  for (const { key } of first.given.records) expect(workspace.store.readRecord(key)).not.toBeNull();

  expect((await run()).counts).toMatchObject({ executed: 0, cached: 5 });

  // The same texts from another execution: what is told of them is new, so what tells of them runs again, and nothing else.
  const again = await run(['first']);
  expect(again.counts).toMatchObject({ executed: 2, cached: 3 });
  expect(again.given.records.find(({ task }) => task === 'first')!.run).not.toBe(root!.run);
  const { graph } = await load();
  expect((await makePlan(workspace, graph)).counts).toMatchObject({ fresh: 5 });
});

test('the lineage of such a task is that of its other inputs', async () => {
  open(pipeline());
  await run();
  const { nodes, edges } = lineage(workspace, 'witness');
  expect(nodes.flatMap((node) => (node.kind === 'task' ? node.task : [])).sort()).toEqual([
    'first',
    'second[n=1]',
    'second[n=2]',
    'witness',
  ]);
  expect(new Set(edges.map(({ input }) => input))).toEqual(new Set(['all', 'from']));
});

test('a pipeline does not fill it', async () => {
  open(pipeline(', lineage: first.out'));
  await expect(load()).rejects.toThrow(
    /the input "lineage" of witness is filled in by pipe[\s\S]*it holds the records behind the other inputs/,
  );
});
