/** Published validators of other formats, written in Python: installed into .validators/ by .ci/run, skipped elsewhere. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..', '..');
const python = join(root, '.validators', 'bin', 'python');

/** Why the validators cannot run here, or null. */
export const noValidators: string | null = existsSync(python)
  ? null
  : 'no .validators/: python3 -m venv .validators && .validators/bin/pip install -r test/support/validators/requirements.txt';

/** What the validator `name`.py prints, as JSON. @throws Error with what it wrote, if it fails. */
export function validate(name: string, ...args: readonly string[]): unknown {
  const script = join(import.meta.dirname, 'validators', `${name}.py`);
  const out = execFileSync(python, [script, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  return JSON.parse(out.trim().split('\n').at(-1)!);
}
