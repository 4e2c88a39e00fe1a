/** A process that runs the graph in `graph.json` of a project, for tests that kill it: one JSON line an event. */
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Graph } from '../../engine/graph.ts';
import { runPipeline } from '../../engine/run.ts';
import { openWorkspace } from '../../engine/workspace.ts';

const root = process.argv[2]!;
const graph = JSON.parse(readFileSync(join(root, 'graph.json'), 'utf8')) as Graph;
const workspace = openWorkspace(root);
const outcome = await runPipeline(workspace, graph, { jobs: 2 }, (event) => {
  writeSync(1, `${JSON.stringify(event)}\n`);
});
await workspace.close();
process.exitCode = outcome.status === 'done' ? 0 : 1;
