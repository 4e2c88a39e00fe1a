/** Processes that a task left behind: found and ended, so that nothing writes into an artifact once it is one. */
import { openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { sep } from 'node:path';

/** A process that outlived its task and was ended. */
export interface Straggler {
  readonly pid: number;
  /** The program's name; the arguments may hold what is secret. */
  readonly program: string;
}

/** What the user is told of one. */
export function strayText({ pid, program }: Straggler): string {
  return `left a process behind, which was ended: ${program} (process ${pid})`;
}

/** More process ids than these, and the list of all processes is shorter. */
const fewIds = 300;
const patienceMs = 5000;

let loads: number | null = null;
const line = Buffer.alloc(256);

/** The id of the newest process: what starts later has a greater one, until the numbers wrap. 0 where it cannot be told. */
export function newestProcess(): number {
  try {
    // Stays open: asked around every task, and each reading from its beginning tells anew.
    loads ??= openSync('/proc/loadavg', 'r');
    return Number(
      line
        .toString('latin1', 0, readSync(loads, line, 0, line.length, 0))
        .trim()
        .split(' ')
        .at(-1),
    );
  } catch {
    return 0;
  }
}

/**
 * Ends the processes that a task started and left: those of the worker's session, and those that have the task's private
 * folder in their environment, as working directory, or a file of it open. Looks again until there are none, for one that is
 * being ended may start another. Only on Linux; elsewhere a late write is noticed by the blob's time.
 * @param home the task's private folder.
 * @param since the newest process when the task began.
 * @param worker the process that ran the task, and the leader of its session.
 * @throws Error when one cannot be ended.
 */
export function endStragglers(home: string, since: number, worker: number): Straggler[] {
  const ended = new Map<number, Straggler>();
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const found = processesSince(since).filter(
      (pid) => pid !== process.pid && pid !== worker && isOf(pid, home, worker),
    );
    if (found.length === 0) return [...ended.values()];
    for (const pid of found) {
      if (!ended.has(pid)) ended.set(pid, { pid, program: textOf(pid, 'comm').trim() });
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
    if (performance.now() > deadline)
      throw new Error(`left processes behind that cannot be ended: ${found.join(', ')}`);
  }
}

/** The numbers of the files that this process has open; the list itself is read through another one. */
export function openFiles(): string[] {
  return namesIn('/proc/self/fd').filter((file) => linkOf('self', `fd/${file}`) !== '');
}

/** The files below a folder that this process holds open. @param others numbers that are not looked at. */
export function openFilesIn(home: string, others: ReadonlySet<string>): string[] {
  return namesIn('/proc/self/fd')
    .filter((file) => !others.has(file))
    .map((file) => linkOf('self', `fd/${file}`))
    .filter((path) => path.startsWith(home + sep));
}

/** Ids of the processes, and of some threads, that began after another. */
function processesSince(since: number): number[] {
  const newest = newestProcess();
  if (since > 0 && newest >= since && newest - since <= fewIds) {
    return Array.from({ length: newest - since }, (_, i) => since + 1 + i);
  }
  return namesIn('/proc').map(Number).filter(Number.isInteger);
}

function isOf(pid: number, home: string, worker: number): boolean {
  const stat = textOf(pid, 'stat');
  if (stat === '') return false;
  // The name, in parentheses, may itself hold spaces and parentheses; then state, parent, group, session.
  const [state, , , session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (state === 'Z' || state === 'X') return false;
  const mayBe =
    Number(session) === worker ||
    textOf(pid, 'environ').includes(home) ||
    [linkOf(pid, 'cwd'), ...filesOf(pid)].some((path) => `${path}${sep}`.startsWith(home + sep));
  // A thread has an id of its own, and what it shows is its process's.
  return mayBe && new RegExp(`^Tgid:\\s+${pid}$`, 'm').test(textOf(pid, 'status'));
}

function textOf(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    // It is gone, or another user's.
    return '';
  }
}

function linkOf(pid: number | 'self', name: string): string {
  try {
    return readlinkSync(`/proc/${pid}/${name}`);
  } catch {
    return '';
  }
}

const filesOf = (pid: number) => namesIn(`/proc/${pid}/fd`).map((file) => linkOf(pid, `fd/${file}`));

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
