/** Projects in temporary folders and the `pipe` command run in them, as a person would run it. */
import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Event } from '../../engine/events.ts';

export const repository = dirname(dirname(import.meta.dirname));

/** What a command printed and how it ended; `code` is null when it was killed. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

/** A run that was told as JSON. */
export interface Told extends Ended {
  readonly events: readonly Event[];
  /** Ids of the tasks that were executed, sorted. */
  readonly executed: readonly string[];
  /** Names of the stages that they belong to, sorted, each once. */
  readonly stages: readonly string[];
}

export type Environment = Readonly<Record<string, string>>;

/** A project folder and the command that is run in it. */
export interface CommandProject {
  readonly root: string;
  /** Runs `pipe ARGS`; a non-zero exit code does not throw. */
  pipe(args: readonly string[], environment?: Environment): Promise<Ended>;
  /** Runs `pipe run ARGS --json`. */
  run(args: readonly string[], environment?: Environment): Promise<Told>;
  read(path: string): string;
  write(path: string, content: string | Uint8Array): void;
  /** Replaces text in a file, which must be there. @returns a function that puts the file back. */
  edit(path: string, from: string, to: string): () => void;
  remove(): void;
}

/** A project that holds the given files; its command is this repository's, which brings the stages. */
export function openProjectFolder(files: Readonly<Record<string, string | Uint8Array>> = {}): CommandProject {
  return projectIn(temporaryFolder(), join(repository, 'dist', 'pipe.mjs'), files);
}

/** What the code of stages is read from, and what the command is built to. */
const sources = ['stages', 'model', 'compile', 'engine', 'native', 'scripts', 'dist', 'assets/fonts', 'package.json'];

/**
 * A checkout of its own: copies of everything that code digests are taken over, and of the built command, so that an edit in it is an
 * edit of the project's code and reaches nothing else. Only what no stage's sources lie in is shared by links: installed
 * packages, and builds of native code, which are named by their content.
 */
export function openCheckout(files: Readonly<Record<string, string | Uint8Array>> = {}): CommandProject {
  const root = temporaryFolder();
  for (const path of sources) cpSync(join(repository, path), join(root, path), { recursive: true });
  for (const path of ['node_modules', 'build']) {
    if (existsSync(join(repository, path))) symlinkSync(join(repository, path), join(root, path));
  }
  return projectIn(root, join(root, 'dist', 'pipe.mjs'), files);
}

/** A checkout with all that is in it, its cache too, copied to another place: `folder` below a new temporary folder. */
export function copyCheckout(from: CommandProject, folder: string): CommandProject {
  const home = temporaryFolder();
  const root = join(home, folder);
  cpSync(from.root, root, { recursive: true, verbatimSymlinks: true });
  const project = projectIn(root, join(root, 'dist', 'pipe.mjs'), {});
  return { ...project, remove: () => rmSync(home, { recursive: true, force: true }) };
}

function temporaryFolder(): string {
  return realpathSync(mkdtempSync(join(tmpdir(), 'pipe-behaviour-')));
}

function projectIn(
  root: string,
  command: string,
  files: Readonly<Record<string, string | Uint8Array>>,
): CommandProject {
  const write = (path: string, content: string | Uint8Array) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  mkdirSync(join(root, 'pipelines'), { recursive: true });
  for (const [path, content] of Object.entries(files)) write(path, content);
  const pipe = (args: readonly string[], environment?: Environment) =>
    ended(startPipe(command, root, args, environment));
  return {
    root,
    pipe,
    async run(args, environment) {
      const end = await pipe(['run', ...args, '--json'], environment);
      const events = eventsIn(end.stdout);
      const executed = events.flatMap((event) =>
        event.type === 'task-done' && event.origin === 'executed' ? [event.task] : [],
      );
      const stages = new Set(executed.map((task) => task.replace(/\[.*/, '')));
      return { ...end, events, executed: executed.sort(), stages: [...stages].sort() };
    },
    read: (path) => readFileSync(join(root, path), 'utf8'),
    write,
    edit(path, from, to) {
      const before = readFileSync(join(root, path), 'utf8');
      if (!before.includes(from)) throw new Error(`${path} does not hold ${from}`);
      writeFileSync(
        join(root, path),
        before.replace(from, () => to),
      );
      return () => writeFileSync(join(root, path), before);
    },
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Starts `pipe ARGS` in a folder, without what the environment of the tests says about terminals and CI. */
export function startPipe(command: string, root: string, args: readonly string[], environment: Environment = {}) {
  const { CI: _, NO_COLOR: __, FORCE_COLOR: ___, PIPE_NATIVE: ____, NODE_OPTIONS: _____, ...inherited } = process.env;
  return spawn(process.execPath, [command, ...args], {
    cwd: root,
    env: { ...inherited, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Waits for the end of a command. */
export function ended(child: ReturnType<typeof startPipe>): Promise<Ended> {
  const started = performance.now();
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      resolve({
        code,
        stdout: Buffer.concat(stdout).toString('utf8'),
        stderr: Buffer.concat(stderr).toString('utf8'),
        seconds: (performance.now() - started) / 1000,
      }),
    );
  });
}

/** The events of `--json`; a last line that a kill cut short is left out. */
export function eventsIn(text: string): Event[] {
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  return whole
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Event);
}

/** Files below cache/ and results/ that look half-made: in cache/tmp, cache/work and cache/claims, and `*.tmp` anywhere. */
export function leftovers(root: string): string[] {
  const list = (folder: string): string[] =>
    existsSync(join(root, folder)) ? readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }) : [];
  const inside = ['cache/tmp', 'cache/work', 'cache/claims'].flatMap((folder) =>
    list(folder).map((name) => join(folder, name)),
  );
  return [...inside, ...[...list('cache'), ...list('results')].filter((name) => name.endsWith('.tmp'))];
}

/** Ids of processes that were started for this project: their command line names it, or they work in it. */
export function processesOf(root: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        if (pid === process.pid || /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return false;
        return (
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(root) ||
          readlinkSync(`/proc/${pid}/cwd`).startsWith(root)
        );
      } catch {
        return false;
      }
    });
}
