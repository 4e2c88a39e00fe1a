/** The machine that this process runs on, as a record describes it. */
import { cpus, hostname } from 'node:os';
import type { Host } from './record.ts';

let host: Host | undefined;

export function thisHost(): Host {
  host ??= {
    name: hostname(),
    platform: `${process.platform}-${process.arch}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
  };
  return host;
}
