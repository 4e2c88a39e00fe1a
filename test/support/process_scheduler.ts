/** A batch system whose jobs are processes of this machine, and which fails as it is told to. */
import { spawn } from 'node:child_process';
import {
  type Listed,
  type Phase,
  RefusedError,
  type Scheduler,
  SilentError,
  type Submission,
} from '../../engine/executors/scheduler.ts';

export interface ProcessScheduler extends Scheduler {
  readonly submissions: readonly Submission[];
  /** What the next answers are: of submissions `lost` takes the jobs, and says nothing. */
  answers: {
    submit: 'well' | 'silent' | 'lost' | 'refused';
    list: 'well' | 'silent' | 'forgetful';
    cancel: 'well' | 'silent';
  };
}

export function openProcessScheduler(mostInOneCall = 1000): ProcessScheduler {
  const submissions: Submission[] = [];
  const jobs = new Map<string, { tag: string; index: number; phase: Phase; kill(): void }>();
  const answers: ProcessScheduler['answers'] = { submit: 'well', list: 'well', cancel: 'well' };
  const silent = () => new SilentError('nobody answers');

  function start(script: string, tag: string, index: number, id: string): void {
    const child = spawn('/bin/sh', [script], {
      env: { ...process.env, PIPE_JOB: id, PIPE_NODE: 'here' },
      stdio: 'ignore',
      detached: true,
    });
    const job = { tag, index, phase: { kind: 'running' } as Phase, kill: () => process.kill(-child.pid!, 'SIGTERM') };
    jobs.set(id, job);
    child.on('exit', () => {
      job.phase = { kind: 'over', complaint: null };
    });
  }

  return {
    title: 'The batch system',
    submissions,
    answers,
    connect: async () => ({ cluster: 'processes', mostInOneCall }),
    async submit(submission) {
      if (answers.submit === 'silent') throw silent();
      if (answers.submit === 'refused') throw new RefusedError('no');
      submissions.push(submission);
      const ids = submission.scripts.map((script, index) => {
        const id = `${submissions.length}_${index}`;
        start(script, submission.tag, index, id);
        return id;
      });
      if (answers.submit === 'lost') throw silent();
      return ids;
    },
    async list() {
      if (answers.list === 'silent') throw silent();
      if (answers.list === 'forgetful') return [];
      return [...jobs].map(([id, { tag, index, phase }]): Listed => ({ id, tag, index, phase }));
    },
    async cancel(ids) {
      if (answers.cancel === 'silent') throw silent();
      for (const id of ids) if (jobs.get(id)?.phase.kind === 'running') jobs.get(id)!.kill();
    },
  };
}
