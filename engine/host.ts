/** The machine that this process runs on, as a record describes it. */
import { cpus, hostname } from 'node:os';
import type { Host } from './record.ts';

let host: Host | undefined;

export function thisHost(): Host {
  if (host === undefined) {
    // It reads files that the system makes up as they are read, which takes milliseconds.
    const cores = cpus();
    host = {
      name: hostname(),
      platform: `${process.platform}-${process.arch}`,
      cpu: cores[0]?.model ?? 'unknown',
      cores: cores.length,
      node: process.version,
    };
  }
  return host;
}
