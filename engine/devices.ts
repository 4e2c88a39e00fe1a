/** The device that accelerated tasks compute on: what is asked for, and the GPUs that this machine offers. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { UsageError } from './errors.ts';
import { namesIn } from './store.ts';

/** What an accelerated task computes on. */
export type Device = 'cpu' | 'cuda';

/** What a person asks for; `auto` is `cuda` where this machine offers a GPU. */
export type DeviceChoice = Device | 'auto';

/** @throws UsageError for a PIPE_GPUS that is no number. */
export function resolveDevice(choice: DeviceChoice): Device {
  if (choice !== 'auto') return choice;
  return machineGpus().length > 0 ? 'cuda' : 'cpu';
}

/** @throws UsageError when this machine is to compute on a GPU and offers none. */
export function refuseAbsentDevice(choice: DeviceChoice): void {
  if (choice !== 'cuda' || machineGpus().length > 0) return;
  const hidden =
    process.env.CUDA_VISIBLE_DEVICES === undefined ? '' : '; CUDA_VISIBLE_DEVICES hides those that it names not';
  throw new UsageError(
    `--device cuda: this machine offers no GPU${hidden}\n  see whether \`nvidia-smi -L\` lists one, or run with --device cpu`,
  );
}

/**
 * What CUDA_VISIBLE_DEVICES calls each GPU that tasks may have: those that it names, if it is set, else all that the driver shows.
 * PIPE_GPUS=n offers n, whatever there are.
 * @throws UsageError for a PIPE_GPUS that is no number.
 */
export function machineGpus(): readonly string[] {
  const { PIPE_GPUS: offered, CUDA_VISIBLE_DEVICES: visible } = process.env;
  if (offered !== undefined && !/^\d{1,3}$/.test(offered)) {
    throw new UsageError(`PIPE_GPUS is how many GPUs tasks may have, not ${JSON.stringify(offered)}`);
  }
  const count = offered === undefined ? shownGpus() : Number(offered);
  if (visible === undefined) return Array.from({ length: count }, (_, index) => String(index));
  const names = visible.split(',').map((name) => name.trim());
  // CUDA takes no notice of what follows a name that it does not know.
  const end = names.findIndex((name) => name === '' || name.startsWith('-'));
  return names.slice(0, Math.min(count, end === -1 ? names.length : end));
}

/** How many NVIDIA GPUs the driver shows: by their device files, its own list of them, or (where it has neither) nvidia-smi. */
function shownGpus(): number {
  const files = namesIn('/dev').filter((name) => /^nvidia\d+$/.test(name)).length;
  if (files > 0) return files;
  const listed = namesIn('/proc/driver/nvidia/gpus').length;
  if (listed > 0 || !['/dev/nvidiactl', '/dev/dxg'].some(existsSync)) return listed;
  try {
    const text = execFileSync('nvidia-smi', ['-L'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 10_000,
    });
    return text.split('\n').filter((line) => /^GPU \d+:/.test(line)).length;
  } catch {
    return 0;
  }
}
