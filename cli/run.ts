/** `pipe run`: runs what is not up to date, and shows how it goes. */
import { refuseAbsentDevice } from '../engine/devices.ts';
import type { ExecutorName } from '../engine/executors/open.ts';
import { makePlan } from '../engine/plan.ts';
import { type RunOutcome, runPipeline } from '../engine/run.ts';
import { interruptible } from './interruption.ts';
import { LineReport } from './lines.ts';
import { LiveReport } from './live.ts';
import type { Report } from './report.ts';
import { openForRun, type RequestOptions, tellDamage, withWorkspace } from './request.ts';
import { planJson, printPlan } from './status.ts';
import { isWatched, print, printJson } from './text.ts';

export interface RunCommandOptions extends RequestOptions {
  readonly jobs?: number;
  readonly executor: ExecutorName;
  readonly keepGoing?: true;
  readonly dryRun?: true;
  readonly force?: true;
  readonly json?: true;
}

/** @returns 0 when all is done, 1 when a task failed, 130 when the run was interrupted. */
export function run(args: readonly string[], options: RunCommandOptions): Promise<number> {
  let report: Report | null = null;
  return withWorkspace(
    async (workspace) => {
      // A cluster's GPUs are not seen from here.
      if (options.executor !== 'slurm') refuseAbsentDevice(options.device ?? 'auto');
      const { graph, targets } = await openForRun(workspace, args, options);
      const force = !options.force ? {} : { force: targets.length === 0 ? ('all' as const) : targets };
      if (options.dryRun) {
        const plan = await makePlan(workspace, graph, { targets, ...force });
        if (options.json) printJson(planJson(plan));
        else printPlan(plan);
        return 0;
      }
      report = options.json ? jsonReport() : isWatched() ? new LiveReport(graph) : new LineReport(graph);
      const interruption = interruptible();
      // Whatever ends the process before the run is over (a closed pipe at its output, a second Ctrl-C) interrupts it.
      process.exitCode = 130;
      const jobs = options.jobs === undefined ? {} : { jobs: options.jobs };
      try {
        const settings = {
          targets,
          ...force,
          ...jobs,
          executor: options.executor,
          keepGoing: options.keepGoing ?? false,
          signal: interruption.signal,
        };
        const outcome = await runPipeline(workspace, graph, settings, report.hear);
        return exitCode(outcome);
      } finally {
        report.close();
        interruption.end();
      }
    },
    (event) => (report?.hear ?? tellDamage)(event),
  );
}

function exitCode({ status }: RunOutcome): number {
  return status === 'done' ? 0 : status === 'failed' ? 1 : 130;
}

function jsonReport(): Report {
  return { hear: (event) => print(JSON.stringify(event)), close: () => undefined };
}
