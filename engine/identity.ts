/** Who a process is, so that a note left by one that has died is never taken for one that lives. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** A process: its number alone is given out again, so the time it started and the boot it belongs to go with it. */
export interface Identity {
  readonly pid: number;
  readonly start: string;
  readonly boot: string;
}

/** The clock tick at which a process started, or null when there is no such process. */
function startOf(pid: number): string | null {
  try {
    if (process.platform === 'linux') {
      // The process name, in parentheses, may itself hold spaces and parentheses.
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
    }
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' })
      .trim()
      .replaceAll(' ', '_');
  } catch {
    return null;
  }
}

let bootId: string | undefined;
function boot(): string {
  bootId ??= (
    process.platform === 'linux'
      ? readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')
      : execFileSync('sysctl', ['-n', 'kern.boottime'], { encoding: 'utf8' })
  )
    .replaceAll(/[^0-9A-Za-z]/g, '')
    .slice(0, 32);
  return bootId;
}

let own: Identity | undefined;
/** The identity of this process. */
export function self(): Identity {
  own ??= { pid: process.pid, start: startOf(process.pid) ?? '0', boot: boot() };
  return own;
}

/** Whether the process still runs. A note from another boot, or another machine, counts as dead. */
export function isAlive(identity: Identity): boolean {
  return identity.boot === boot() && startOf(identity.pid) === identity.start;
}

/** An identity as a word that can stand in a file name. */
export function identityText({ pid, start, boot }: Identity): string {
  return `${pid}-${start}-${boot}`;
}

/** The identity in such a word (which may go on after another `-`), or null. */
export function parseIdentity(text: string): Identity | null {
  const [pid, start, boot] = text.split('-');
  if (pid === undefined || start === undefined || boot === undefined || !/^[1-9][0-9]*$/.test(pid)) return null;
  return { pid: Number(pid), start, boot };
}
