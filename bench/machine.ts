/** What the figures were taken on: processor, system, and how busy the machine was. */
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';

/** @returns one line: processor, cores, memory, system and Node. */
export function machineText(): string {
  const model = cpus()[0]?.model.trim() ?? process.arch;
  const memory = `${(totalmem() / 2 ** 30).toFixed(0)} GiB`;
  return `${model}, ${availableParallelism()} cores, ${memory}, ${type()} ${release()}, Node ${process.version}`;
}

/** @returns a line with the load average of the last minute, and a warning when other work takes much of the machine. */
export function loadText(when: string): string {
  const load = loadavg()[0]!;
  const text = `load average ${when}: ${load.toFixed(2)}`;
  // At the end, the benchmarks themselves are part of it.
  if (when !== 'at the start' || load <= availableParallelism() / 2) return text;
  return `${text}\nWARNING: other work is running here: the figures are worse than the machine can do, and spread. Take them again when it is idle.`;
}
