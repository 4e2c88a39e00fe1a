/** A throw-away project for the tests of the engine's runtime: stages written as text, graphs built by hand. */
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Event } from '../../engine/events.ts';
import type { Graph, InputRef, Publication, Task } from '../../engine/graph.ts';
import { type RunOptions, type RunOutcome, runPipeline } from '../../engine/run.ts';
import type { Json } from '../../engine/stage.ts';
import { openWorkspace } from '../../engine/workspace.ts';

export interface TestProject {
  readonly root: string;
  write(path: string, content: string): void;
  remove(): void;
}

/** A project in a new folder, below the system's folder for temporary files if no other is given. */
export function makeProject(files: Readonly<Record<string, string>> = {}, parent = tmpdir()): TestProject {
  const root = realpathSync(mkdtempSync(join(parent, 'pipe-engine-')));
  const write = (path: string, content: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  mkdirSync(join(root, 'pipelines'));
  for (const [path, content] of Object.entries(files)) write(path, content);
  return { root, write, remove: () => rmSync(root, { recursive: true, force: true }) };
}

/** A stage module that writes text to its one output `out`; `body` is the text of its `run`. */
export function stageText(
  body: string,
  imports = '',
  outputs = "{ out: { description: 'text', path: 'out.txt' } }",
): string {
  return `import { defineStage } from 'pipe/stage';
import { readFileSync, writeFileSync } from 'node:fs';
${imports}
export default defineStage({
  description: 'a stage of a test',
  params: { text: { type: 'string', description: 'text', default: '' } },
  inputs: { from: { description: 'text', optional: true } },
  outputs: ${outputs},
  async run({ params, inputs, outputs, ...context }) {
${body}
  },
});
`;
}

export const echo = stageText(
  "    writeFileSync(outputs.out, (inputs.from === undefined ? '' : readFileSync(inputs.from, 'utf8')) + params.text);",
);

/** A task of a stage module `stages/<stage>.ts` of the project, or of a command. */
export function makeTask(root: string, id: string, stage: string, more: Partial<Task> = {}): Task {
  return {
    id,
    stage: id,
    axes: {},
    action: { kind: 'uses', stage, module: join(root, 'stages', `${stage}.ts`) },
    params: { text: id },
    sources: [],
    env: {},
    environment: [],
    secrets: [],
    inputs: {},
    outputs: { out: 'out.txt' },
    needs: [],
    timeoutSeconds: null,
    retry: 0,
    device: 'cpu',
    resources: { cpu: 1, gpu: 0, memory: 0 },
    location: { file: join(root, 'pipelines/test.yaml'), line: 1, column: 1 },
    ...more,
  };
}

export function from(task: string, artifact = 'out'): InputRef {
  return { kind: 'artifact', task, artifact };
}

export function makeGraph(root: string, tasks: readonly Task[], publications: readonly Publication[] = []): Graph {
  return {
    name: 'test',
    description: '',
    root,
    profile: null,
    params: {} as Record<string, Json>,
    tasks,
    publications,
  };
}

/** Opens the project, runs the graph, closes the project: what one `pipe run` does. */
export async function run(
  graph: Graph,
  options: RunOptions = {},
): Promise<{ outcome: RunOutcome; events: Event[]; executed: string[] }> {
  const events: Event[] = [];
  const workspace = openWorkspace(graph.root, (event) => events.push(event));
  try {
    const outcome = await runPipeline(workspace, graph, { jobs: 2, ...options }, (event) => events.push(event));
    const executed = events.flatMap((event) =>
      event.type === 'task-done' && event.origin === 'executed' ? [event.task] : [],
    );
    return { outcome, events, executed };
  } finally {
    await workspace.close();
  }
}

/** The names of all files below a folder that look half-made: in cache/tmp and cache/work, and `*.tmp` anywhere. */
export function halfMade(root: string): string[] {
  const list = (folder: string): string[] => {
    try {
      return readdirSync(resolve(root, folder), { recursive: true, encoding: 'utf8' });
    } catch {
      return [];
    }
  };
  return [...list('cache/tmp'), ...list('cache/work'), ...list('cache/claims')].concat(
    [...list('cache'), ...list('results')].filter((name) => name.endsWith('.tmp')),
  );
}
