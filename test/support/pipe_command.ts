/** Runs the `pipe` command as a person or a CI job does: the built file, in a project of its own. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';

/** The built command. */
export const pipeCommand = join(import.meta.dirname, '..', '..', 'dist', 'pipe.mjs');

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
  /** Standard output, line by line. */
  readonly lines: readonly string[];
}

export interface TestFolder {
  readonly root: string;
  write(path: string, content: string): void;
  /** Runs the command to its end. `onOut` hears standard output as it comes, and may send signals. */
  pipe(args: readonly string[], onOut?: PipeOptions['onOut']): Promise<Ended>;
}

/** A folder with these files, removed after the test. */
export function folderWith(files: Readonly<Record<string, string>>): TestFolder {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'pipe-command-')));
  onTestFinished(() => rmSync(root, { recursive: true, force: true, maxRetries: 5 }));
  const write = (path: string, content: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  for (const [path, content] of Object.entries(files)) write(path, content);
  return { root, write, pipe: (args, onOut) => runPipe(root, args, onOut === undefined ? {} : { onOut }) };
}

export interface PipeOptions {
  /** Hears standard output as it comes, and may send signals. */
  readonly onOut?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
  /** Variables besides those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs the command in a folder to its end. */
export function runPipe(cwd: string, args: readonly string[], { onOut, env }: PipeOptions = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [pipeCommand, ...args], {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let out = '';
    let err = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
      onOut?.(out, (signal) => child.kill(signal));
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text;
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err, lines: out.split('\n').slice(0, -1) }));
  });
}

/** A stage that copies its parameter, prints, and does as it is told. */
export const speaker = `import { writeFileSync } from 'node:fs';
import { defineStage, StageError } from 'pipe/stage';
export default defineStage({
  description: 'Says a word.',
  params: {
    word: { type: 'string', description: 'What is said.', default: 'hello' },
    fail: { type: 'boolean', description: 'Whether to fail.', default: false },
  },
  inputs: { from: { description: 'What was said before.', optional: true, many: true } },
  outputs: { said: { description: 'The word.', path: 'said.txt' } },
  run({ params, outputs, log, measure }) {
    for (let line = 1; line <= 30; line++) log(\`line \${line}\`);
    if (params.fail) throw new StageError('no voice');
    measure('lines', 30);
    measure('seconds per line', 0.001234567);
    writeFileSync(outputs.said, params.word);
  },
});
`;
