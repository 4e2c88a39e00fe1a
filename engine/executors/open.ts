/** The executors by name. */
import { join } from 'node:path';
import type { Executor } from '../executor.ts';
import type { Resources } from '../graph.ts';
import { machineResources } from '../pools.ts';
import type { Workspace } from '../workspace.ts';
import { openBatch } from './batch.ts';
import { jobsFolder } from './jobs_folder.ts';
import { openLocal } from './local.ts';
import { openSlurm } from './slurm.ts';

export const executorNames = ['local', 'slurm'] as const;
export type ExecutorName = (typeof executorNames)[number];

export interface ExecutorOptions {
  /** The most tasks at a time. */
  readonly jobs?: number | undefined;
  /** What there is to share out on this machine, if not all that it has. */
  readonly pools?: Partial<Resources> | undefined;
}

/** How many jobs a cluster is given at a time, unless the run says otherwise: what sites commonly allow one user. */
const clusterJobs = 100;
/** How long a submission is tried again when the controller does not answer: longer than its restart takes. */
const patienceMs = 120_000;

/** Opens an executor for a run of a pipeline. Nothing is started, and nobody asked, before the first task runs. */
export function openExecutor(
  name: ExecutorName,
  { project, stages }: Workspace,
  run: { readonly id: string; readonly pipeline: string },
  { jobs, pools }: ExecutorOptions,
): Executor {
  const workerEntry = () => stages.workerEntry();
  if (name === 'local') {
    const total = { ...machineResources(), ...pools };
    const most = jobs ?? Math.max(1, Math.floor(total.cpu));
    return openLocal(join(project.cache, 'work'), workerEntry, run.id, total, most);
  }
  return openBatch(
    openSlurm(() => []),
    {
      jobs: jobsFolder(project.cache),
      workerEntry,
      nodeProgram: () => stages.bundle(join(project.packageRoot, 'engine', 'executors', 'node.ts')),
      name: run.pipeline,
      most: jobs ?? clusterJobs,
      patienceMs,
    },
  );
}
