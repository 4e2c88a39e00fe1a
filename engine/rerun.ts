/** Executes recorded tasks again, apart from the store, and compares what comes out with what was recorded. */
import { join } from 'node:path';
import { readFacts } from './assess.ts';
import { firstDifference, storedContent } from './difference.ts';
import { UsageError } from './errors.ts';
import { execute } from './execute.ts';
import type { OrderListener } from './executor.ts';
import { openLocal } from './executors/local.ts';
import type { Graph, Task } from './graph.ts';
import { identityText, self } from './identity.ts';
import type { Memo } from './memo.ts';
import { makePlan, type PlannedTask } from './plan.ts';
import { granted, machineResources, openPools } from './pools.ts';
import { enterRun } from './presence.ts';
import type { Result } from './publish.ts';
import { type Digest, differingOutputs, type TaskRecord } from './record.ts';
import { newRunId } from './runs.ts';
import { tasksNamed } from './select.ts';
import { openStore, removeTree, type Store } from './store.ts';
import type { Workspace } from './workspace.ts';

/** An artifact that came out otherwise. */
export interface RerunDifference {
  readonly artifact: string;
  readonly recorded: Digest | null;
  readonly now: Digest | null;
  /** The first place where the two differ. */
  readonly where: string | null;
}

/** What became of one task. */
export type RerunResult = { readonly task: string } & (
  | { readonly outcome: 'same'; readonly key: Digest; readonly seconds: number }
  | {
      readonly outcome: 'different';
      readonly key: Digest;
      readonly seconds: number;
      readonly differences: readonly RerunDifference[];
    }
  | { readonly outcome: 'failed'; readonly key: Digest; readonly message: string; readonly tail: readonly string[] }
  /** There is nothing to compare with. */
  | { readonly outcome: 'unrecorded' }
);

export interface RerunOptions {
  /** Names of stages or tasks; none means all. What they depend on is not executed: its recorded artifacts are read. */
  readonly targets?: readonly string[];
  readonly jobs?: number;
}

/**
 * Executes recorded tasks again with the recorded artifacts of what they depend on. Outputs go to a store that is made for it
 * and removed at the end: nothing in the real one is added or replaced.
 * @param hear is told of each task when it is over.
 * @throws UsageError for a target that names nothing, and when none of the tasks is recorded.
 */
export async function rerun(
  workspace: Workspace,
  graph: Graph,
  { targets = [], jobs }: RerunOptions,
  hear: (result: RerunResult) => void,
): Promise<readonly RerunResult[]> {
  const run = newRunId('verify');
  const leave = await enterRun(workspace.claims, run);
  const scratch = join(workspace.project.cache, 'tmp', `${identityText(self())}-${run}`);
  const total = machineResources();
  const executor = openLocal(workspace, join(scratch, 'work'), run, total, jobs ?? total.cpu);
  try {
    const plan = await makePlan(workspace, graph, { targets });
    const named = new Set(
      (targets.length === 0 ? graph.tasks : targets.flatMap((name) => tasksNamed(graph, name))).map(({ id }) => id),
    );
    const wanted = plan.tasks.filter(({ task }) => named.has(task.id));
    if (!wanted.some(({ state }) => state === 'fresh')) {
      throw new UsageError(
        `nothing of pipeline ${graph.name} that was asked for is recorded as it is now: run it first`,
      );
    }
    const facts = await readFacts(
      workspace,
      plan.tasks.map(({ task }) => task),
    );
    const recorded = new Map(plan.tasks.flatMap((planned) => (planned.state === 'fresh' ? [resultOf(planned)] : [])));
    const apart = openStore(scratch, forgetful, () => undefined);
    const isolated = isolate(workspace, apart);
    const pools = openPools(executor.total, executor.jobs);

    async function again(planned: PlannedTask): Promise<RerunResult> {
      const { task } = planned;
      if (planned.state !== 'fresh') return { task: task.id, outcome: 'unrecorded' };
      const { key, entry: found } = planned;
      const record = workspace.store.readRecord(key);
      const resources = granted(task.resources, pools.total);
      if (record === null) return { task: task.id, outcome: 'unrecorded' };
      if (resources === null) {
        return { task: task.id, outcome: 'failed', key, message: 'it needs GPUs that are not here', tail: [] };
      }
      return pools.admit(resources, 0, async () => {
        const ending = await execute(
          isolated,
          executor,
          {
            task,
            key,
            manifest: record.manifest,
            facts,
            resources,
            run,
            fresh: true,
            producer: (id) => recorded.get(id)!,
            signal: new AbortController().signal,
            recording: () => undefined,
            afterwards: () => undefined,
          },
          unheard,
        );
        if (ending.kind === 'recorded') {
          return compared(workspace.store, apart, { task: task.id, key, outputs: found.outputs }, ending.record);
        }
        const { message, tail } =
          ending.kind === 'failed'
            ? { message: ending.failure.message, tail: ending.tail }
            : { message: 'it was cancelled', tail: [] };
        return { task: task.id, outcome: 'failed', key, message, tail };
      });
    }

    return await Promise.all(
      wanted.map(async (planned) => {
        const result = await again(planned);
        hear(result);
        return result;
      }),
    );
  } finally {
    await executor.close();
    removeTree(scratch);
    leave();
  }
}

/** A workspace that reads from the real store and writes to another. */
function isolate(workspace: Workspace, apart: Store): Workspace {
  const { store, project } = workspace;
  return {
    ...workspace,
    project: { ...project, cache: apart.cache },
    store: { ...store, cache: apart.cache, deposit: apart.deposit },
  };
}

const unheard: OrderListener = {
  queued: () => undefined,
  started: () => undefined,
  progress: () => undefined,
  warn: () => undefined,
  measure: () => undefined,
};
const forgetful: Memo = { read: () => undefined, write: () => undefined };

function resultOf({
  task,
  key,
  entry,
}: Extract<PlannedTask, { state: 'fresh' }>): [string, { readonly task: Task; readonly result: Result }] {
  return [task.id, { task, result: { key, outputs: entry.outputs } }];
}

function compared(
  real: Store,
  apart: Store,
  { task, key, outputs }: Pick<TaskRecord, 'task' | 'key' | 'outputs'>,
  now: TaskRecord,
): RerunResult {
  const differences = differingOutputs(outputs, now.outputs).map((artifact): RerunDifference => {
    const [before, after] = [outputs[artifact], now.outputs[artifact]];
    const where =
      before === undefined || after === undefined
        ? null
        : firstDifference(storedContent(real, before), storedContent(apart, after));
    return { artifact, recorded: before?.digest ?? null, now: after?.digest ?? null, where };
  });
  const { seconds } = now;
  return differences.length === 0
    ? { task, outcome: 'same', key, seconds }
    : { task, outcome: 'different', key, seconds, differences };
}
