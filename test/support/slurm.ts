/** A real Slurm on loopback for the tests, and runs of the command that are followed while they go on. */
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Event } from '../../engine/events.ts';
import { type Ended, ended, eventsIn, repository, startPipe } from './checkout.ts';

const script = join(repository, 'test', 'servers', 'slurm.sh');

export interface Cluster {
  /** What the environment of a process must hold to speak to it. */
  readonly environment: { readonly SLURM_CONF: string };
  /** Runs one of Slurm's commands; its standard output. */
  ask(command: string, ...words: string[]): Promise<string>;
  /** The id of a daemon's process: `slurmctld`, `slurmd-n1`. */
  pid(daemon: string): number;
  /** Starts a daemon again. */
  start(daemon: 'slurmctld' | 'slurmd', node?: string): void;
  stop(): void;
}

/** Starts a cluster; a string says why there is none. */
export function startCluster(): Cluster | string {
  for (const command of ['slurmctld', 'slurmd', 'sbatch', 'munged']) {
    if (spawnSync('sh', ['-c', `command -v ${command}`]).status !== 0)
      return `${command} is not installed (Debian: slurm-wlm, munge)`;
  }
  const folder = mkdtempSync(join(tmpdir(), 'slurm-'));
  // Its ports are drawn: another program may have one of them.
  for (const isLast of [false, true]) {
    const { status, stdout, stderr } = spawnSync(script, ['up', folder, String(process.pid)], {
      encoding: 'utf8',
      timeout: 100_000,
    });
    if (status === 0) break;
    spawnSync(script, ['down', folder]);
    if (!isLast) continue;
    rmSync(folder, { recursive: true, force: true });
    return `Slurm does not start here: ${stdout}${stderr}`;
  }
  const environment = { SLURM_CONF: join(folder, 'slurm.conf') };
  const env = { ...process.env, ...environment };
  return {
    environment,
    async ask(command, ...words) {
      return (await promisify(execFile)(command, words, { env, timeout: 60_000 })).stdout;
    },
    pid: (daemon) => Number(readFileSync(join(folder, 'run', `${daemon}.pid`), 'utf8')),
    start(daemon, node) {
      execFileSync(script, [daemon, folder, ...(node === undefined ? [] : [node])], { stdio: 'ignore' });
    },
    stop() {
      execFileSync(script, ['down', folder]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A run of the command that goes on. */
export interface Followed {
  readonly pid: number;
  readonly events: readonly Event[];
  /** Resolves with the event when `count` of those that `holds` accepts have been heard; rejects when the run ends before. */
  when(holds: (event: Event) => boolean, count?: number): Promise<Event>;
  kill(signal: NodeJS.Signals): void;
  readonly end: Promise<Ended>;
}

/** Starts `pipe run ARGS --json`. */
export function follow(root: string, args: readonly string[], environment: Readonly<Record<string, string>>): Followed {
  const child = startPipe(join(repository, 'dist', 'pipe.mjs'), root, ['run', ...args, '--json'], environment);
  const events: Event[] = [];
  const waiting = new Set<() => void>();
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8');
    events.push(...eventsIn(text));
    text = text.slice(text.lastIndexOf('\n') + 1);
    for (const look of waiting) look();
  });
  let isOver = false;
  const end = ended(child).then((how) => {
    isOver = true;
    for (const look of waiting) look();
    return how;
  });
  return {
    pid: child.pid!,
    events,
    end,
    kill: (signal) => child.kill(signal),
    when: (holds, count = 1) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = events.filter(holds)[count - 1];
          if (found === undefined && !isOver) return;
          waiting.delete(look);
          if (found !== undefined) resolve(found);
          else end.then((how) => reject(new Error(`the run ended before that: ${JSON.stringify(how)}`)));
        };
        waiting.add(look);
        look();
      }),
  };
}
