import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { echo, from, halfMade, makeGraph, makeProject, makeTask, run, type TestProject } from './support/engine.ts';

let project: TestProject;
afterEach(() => project.remove());

test('a second run executes nothing', async () => {
  project = makeProject({ 'stages/echo.ts': echo });
  const graph = makeGraph(
    project.root,
    [makeTask(project.root, 'a', 'echo'), makeTask(project.root, 'b', 'echo', { inputs: { from: from('a') } })],
    [{ path: 'tables/b.txt', task: 'b', artifact: 'out' }],
  );
  const first = await run(graph);
  expect(first.outcome.status).toBe('done');
  expect(first.executed).toEqual(['a', 'b']);
  expect(readFileSync(join(project.root, 'results/test/tables/b.txt'), 'utf8')).toBe('ab');
  const second = await run(graph);
  expect(second.executed).toEqual([]);
  expect(second.outcome.counts).toMatchObject({ wanted: 2, cached: 2, executed: 0 });
  expect(halfMade(project.root)).toEqual([]);
});
