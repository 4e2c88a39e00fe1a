/** Slurm, through its own commands: every one of them ends within a bound, whatever the controller does. */
import { UnavailableError } from '../executor.ts';
import type { Resources } from '../graph.ts';
import type { Complaint } from '../protocol.ts';
import { shellWord } from '../shell_word.ts';
import { type Listed, type Phase, RefusedError, type Scheduler, SilentError, type Submission } from './scheduler.ts';

/** How long a command may take: with the controller down, each would wait for minutes. */
const answerMs = 10_000;

/** What Slurm says when it is the controller that does not answer, and not the request that is wrong. */
const silence =
  /contact|connect|communicat|socket|transport|timed out|not responding|temporar|zero bytes|standby|unexpected message/i;

/** Why a job waits, where that needs no words. */
const ordinary = new Set(['None', 'Priority', 'Resources', 'BeginTime', 'Prolog', 'JobArrayTaskLimit', 'Cleaning']);

/** Why a job would wait for ever: sites that do not enforce their limits at submission take it all the same. */
const hopeless = new Set([
  'AccountNotAllowed',
  'BadConstraints',
  'InvalidAccount',
  'InvalidQOS',
  'PartitionConfig',
  'PartitionNodeLimit',
  'PartitionTimeLimit',
  'QOSNotAllowed',
]);

const title = 'Slurm';

/** @param options further arguments of sbatch, which come last and so win. */
export function openSlurm(options: (stage: string) => readonly string[]): Scheduler {
  return {
    title,
    async connect() {
      let text: string;
      try {
        text = await ask('scontrol', ['show', 'config']).catch(asSilent);
      } catch (thrown) {
        if (!(thrown instanceof SilentError)) throw thrown;
        throw new UnavailableError(
          `${thrown.message}\n  nothing was submitted: see whether \`scontrol ping\` answers, or run with --executor local`,
        );
      }
      const setting = (name: string) => new RegExp(`^${name}\\s*=\\s*(.*?)\\s*$`, 'm').exec(text)?.[1];
      const size = Number(setting('MaxArraySize') ?? 1001);
      return { cluster: setting('ClusterName') ?? 'slurm', mostInOneCall: Math.max(1, size - 1) };
    },
    async submit(submission) {
      const words = [...sbatchWords(submission), ...options(submission.stage)];
      const answer = await ask('sbatch', words, scriptOf(submission));
      const [id] = /^\d+/.exec(answer.trim()) ?? [];
      if (id === undefined) throw new RefusedError(`sbatch gave no job id: ${answer.trim()}`);
      return submission.scripts.map((_, index) => `${id}_${index}`);
    },
    async list() {
      const user = String(process.getuid?.() ?? process.env.USER);
      const text = await ask('squeue', ['-h', '-r', '-t', 'all', '-u', user, '-o', '%F|%K|%T|%r|%k']).catch(asSilent);
      return text.split('\n').flatMap(listedIn);
    },
    async cancel(ids) {
      // One that is over already is an error of scancel, and none of ours.
      await ask('scancel', ids).catch((thrown: unknown) => {
        if (!(thrown instanceof RefusedError)) throw thrown;
      });
    },
  };
}

/** The arguments of sbatch, the script coming from standard input. */
export function sbatchWords({ name, tag, scripts, resources, timeoutSeconds }: Submission): string[] {
  return [
    '--parsable',
    `--job-name=${name}`,
    `--comment=${tag}`,
    `--array=0-${scripts.length - 1}`,
    // The script sends everything to the task's log.
    '--output=/dev/null',
    '--chdir=/',
    // A job that is tried again gets a folder of its own: the first start may still be writing on a node that was given up.
    '--no-requeue',
    '--nodes=1',
    '--ntasks=1',
    ...resourceWords(resources),
    // The task's own clock starts later than the job's; this is for a node on which nobody looks at it.
    ...(timeoutSeconds === null ? [] : [`--time=${Math.ceil(timeoutSeconds / 60) + 1}`]),
  ];
}

function resourceWords({ cpu, gpu, memory }: Resources): string[] {
  return [
    `--cpus-per-task=${cpu}`,
    ...(memory === 0 ? [] : [`--mem=${Math.ceil(memory / 2 ** 20)}M`]),
    ...(gpu === 0 ? [] : [`--gres=gpu:${gpu}`]),
  ];
}

/** A job of an array runs the script of its index. */
function scriptOf({ scripts }: Submission): string {
  const cases = scripts.map((path, index) => `${index}) exec /bin/sh ${shellWord(path)} ;;`);
  const names = 'export PIPE_JOB="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" PIPE_NODE="$SLURMD_NODENAME"';
  return ['#!/bin/sh', names, 'case "$SLURM_ARRAY_TASK_ID" in', ...cases, 'esac', ''].join('\n');
}

/** A line of squeue; none for a job that is not ours. */
function listedIn(line: string): Listed[] {
  const [array, index, state, reason, ...comment] = line.split('|');
  const tag = comment.join('|');
  if (array === undefined || state === undefined || reason === undefined || !/^\d+$/.test(index ?? '')) return [];
  return [{ tag, index: Number(index), id: `${array}_${index}`, phase: phaseOf(state, reason) }];
}

function phaseOf(state: string, reason: string): Phase {
  const over = (kind: Complaint['kind'], message: string): Phase => ({ kind: 'over', complaint: { kind, message } });
  switch (state) {
    case 'PENDING':
    case 'REQUEUED':
    case 'REQUEUE_HOLD':
    case 'REQUEUE_FED':
    case 'SPECIAL_EXIT':
    case 'RESV_DEL_HOLD':
      if (hopeless.has(reason)) {
        const message = `Slurm would never start it (${reason}): ask for less, or for another partition`;
        return { kind: 'stuck', complaint: { kind: 'refused', message } };
      }
      if (reason.startsWith('launch failed')) {
        return { kind: 'stuck', complaint: { kind: 'lost', message: 'its node could not start it' } };
      }
      return { kind: 'waiting', obstacle: ordinary.has(reason) ? null : reason };
    case 'NODE_FAIL':
      return over('lost', 'its node failed');
    case 'BOOT_FAIL':
      return over('lost', 'its node did not start');
    case 'PREEMPTED':
      return over('lost', 'a job with a higher priority took its place');
    case 'REVOKED':
      return over('lost', 'another cluster took it');
    case 'COMPLETED':
    case 'FAILED':
      return { kind: 'over', complaint: null };
    case 'TIMEOUT':
    case 'DEADLINE':
      return over('timeout', `Slurm ended it at its time limit: give the stage a longer \`timeout\``);
    case 'OUT_OF_MEMORY':
      return over('crash', 'it used more memory than it was granted: raise `resources: { memory: … }` of the stage');
    case 'CANCELLED':
      return over('crash', 'somebody cancelled its job');
    default:
      // RUNNING, and what comes shortly before and after it: CONFIGURING, COMPLETING, SUSPENDED, SIGNALING, STAGE_OUT.
      return { kind: 'running' };
  }
}

/**
 * Runs one of Slurm's commands.
 * @throws SilentError when the controller does not answer in time
 * @throws RefusedError with Slurm's own words when it says no
 * @throws UnavailableError when the command is not there
 */
async function ask(command: string, words: readonly string[], input = ''): Promise<string> {
  const { execa } = await import('execa');
  const result = await execa(command, words, {
    input,
    reject: false,
    timeout: answerMs,
    // Whatever it waits for, it must not wait longer.
    killSignal: 'SIGKILL',
    env: environment(),
    extendEnv: false,
  });
  if (result.exitCode === 0) return result.stdout;
  if (result.code === 'ENOENT') {
    throw new UnavailableError(
      `\`${command}\` is not on the PATH: --executor slurm needs Slurm's commands on this machine`,
    );
  }
  if (result.timedOut) throw new SilentError(`Slurm did not answer \`${command}\` within ${answerMs / 1000} s`);
  const said = result.stderr.trim().replaceAll(/^\w+: (error: )?/gm, '');
  if (silence.test(said)) throw new SilentError(`Slurm does not answer \`${command}\`: ${said}`);
  throw new RefusedError(said === '' ? (result.shortMessage ?? `${command} failed`) : said);
}

/** A question has no wrong answer: whatever keeps Slurm from giving one may pass. */
function asSilent(thrown: unknown): never {
  throw thrown instanceof RefusedError ? new SilentError(`Slurm does not answer: ${thrown.message}`) : thrown;
}

/** The environment of this process, without what an allocation that it may itself run in says about that allocation. */
function environment(): Record<string, string> {
  const inherited = Object.entries(process.env).filter(
    (entry): entry is [string, string] =>
      entry[1] !== undefined && (!entry[0].startsWith('SLURM_') || entry[0] === 'SLURM_CONF'),
  );
  return Object.fromEntries(inherited);
}
