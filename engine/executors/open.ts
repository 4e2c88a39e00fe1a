/** The executors by name. */
import { join } from 'node:path';
import type { Executor } from '../executor.ts';
import type { Resources } from '../graph.ts';
import { machineResources } from '../pools.ts';
import type { Workspace } from '../workspace.ts';
import { jobsFolder } from './jobs_folder.ts';
import { openLocal } from './local.ts';

export type ExecutorName = 'local' | 'slurm';

export interface ExecutorOptions {
  /** The most tasks at a time. */
  readonly jobs?: number | undefined;
  /** What there is to share out on this machine, if not all that it has. */
  readonly pools?: Partial<Resources> | undefined;
}

/** How many jobs a cluster is given at a time, unless the run says otherwise: what sites commonly allow one user. */
const clusterJobs = 100;
/** How many seconds a submission is tried again when nobody answers: longer than a controller takes to restart. */
const patience = 120;

/**
 * Opens an executor for a run of a pipeline. Nothing is started, and nobody asked, before the first task runs.
 * @throws PipelineError for a pipe.config.yaml that is wrong
 */
export async function openExecutor(
  name: ExecutorName,
  workspace: Workspace,
  run: { readonly id: string; readonly pipeline: string },
  { jobs, pools }: ExecutorOptions,
): Promise<Executor> {
  const { project, stages } = workspace;
  if (name === 'local') {
    const total = { ...machineResources(), ...pools };
    const most = jobs ?? Math.max(1, Math.floor(total.cpu));
    return openLocal(workspace, join(project.cache, 'work'), run.id, total, most);
  }
  // Loaded where they are needed: a run on this machine starts without them.
  const [{ openBatch }, { openSlurm }, { readConfig }] = await Promise.all([
    import('./batch.ts'),
    import('./slurm.ts'),
    import('../config.ts'),
  ]);
  const { slurm = {} } = readConfig(project.root);
  const options = (stage: string) => [...(slurm.options ?? []), ...(slurm.stages?.[stage] ?? [])];
  return openBatch(openSlurm(options), {
    jobs: jobsFolder(project.cache),
    workerEntry: () => stages.workerEntry(),
    nodeProgram: () => stages.bundle(join(project.packageRoot, 'engine', 'executors', 'node.ts')),
    name: run.pipeline,
    most: jobs ?? clusterJobs,
    patienceMs: 1000 * (slurm.patience ?? patience),
  });
}
