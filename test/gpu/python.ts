/** The other side of the referees' tests: referees.py, which needs a python3 with torch, transformers and peft. */
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const packages = ['torch', 'transformers', 'peft', 'safetensors', 'numpy'];

/** Why referees.py cannot run here, if so. */
export function pythonUnavailable(): string | undefined {
  const lacking = `from importlib.util import find_spec; print(*[name for name in ${JSON.stringify(packages)} if find_spec(name) is None])`;
  const { error, status, stdout } = spawnSync('python3', ['-c', lacking], { encoding: 'utf8' });
  if (error !== undefined || status !== 0) return 'there is no python3';
  return stdout.trim() === '' ? undefined : `python3 lacks ${stdout.trim().replaceAll(' ', ', ')}`;
}

/** What each command of referees.py takes; its functions say what they do. Paths are absolute. */
interface Requests {
  checkpoint: { folder: string; sizes: Readonly<Record<string, number>>; seed: number };
  logits: { folder: string; tokens: readonly (readonly number[])[]; out: string; adapter?: string };
  nf4: { folder: string; source: string; out: string };
  train: {
    folder: string;
    adapters: string;
    batches: string;
    lora: { rank: number; alpha: number };
    adamw: Readonly<Record<'rate' | 'beta1' | 'beta2' | 'epsilon' | 'weightDecay' | 'maxNorm', number>>;
  };
}

interface Answers {
  checkpoint: { parameters: number };
  /** How far torch's own bf16 is from its float32: what a bf16 program can be expected to reach. */
  logits: { autocast_error: number; autocast_top1: number };
  /** bitsandbytes' own differences, or why it was not asked. */
  nf4: { matrices: number; bitsandbytes: unknown };
  /** Of float32, and of torch's own bf16. */
  train: { losses: number[]; autocast: number[] };
}

/** Runs a command of referees.py, without a network. @throws Error with what Python wrote when it fails. */
export async function referee<C extends keyof Requests>(command: C, request: Requests[C]): Promise<Answers[C]> {
  const script = join(import.meta.dirname, 'referees.py');
  // Not the synchronous form: a worker that is silent for a minute is taken for dead.
  const { stdout } = await promisify(execFile)('python3', [script, command, JSON.stringify(request)], {
    env: { ...process.env, HF_HUB_OFFLINE: '1', TRANSFORMERS_VERBOSITY: 'error' },
    maxBuffer: 2 ** 26,
  });
  return JSON.parse(stdout.trimEnd().split('\n').at(-1)!);
}
