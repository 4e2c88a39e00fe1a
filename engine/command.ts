/** A task's command: placeholders replaced, an environment that holds only what is declared; and its run by Node. */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { commonEnvironment } from './environment.ts';
import { messageOf } from './errors.ts';
import type { CommandJob, Complaint } from './protocol.ts';
import { Masker } from './secrets.ts';
import { shellWord } from './shell_word.ts';
import type { Member } from './stage.ts';

type Places = Pick<CommandJob, 'inputs' | 'outputs'>;

/** The paths that a placeholder stands for. @throws Error naming an unknown one. */
function pathsOf(kind: string, name: string, { inputs, outputs }: Places): string[] {
  const value = kind === 'in' ? inputs[name] : outputs[name];
  if (value === undefined)
    throw new Error(`the command names {{${kind}:${name}}}, and the task has no such ${kind}put`);
  return typeof value === 'string' ? [value] : value.map((member) => member.path);
}

const placeholder = /\{\{\s*(in|out):([\w.-]+)\s*\}\}/g;

/** Replaces placeholders in one word; a word that is a fan-in's placeholder and nothing else becomes one word a member. */
function fillWord(word: string, places: Places): string[] {
  const whole = new RegExp(`^${placeholder.source}$`).exec(word);
  if (whole !== null) return pathsOf(whole[1]!, whole[2]!, places);
  return [word.replaceAll(placeholder, (_, kind: string, name: string) => pathsOf(kind, name, places).join(' '))];
}

/** Replaces placeholders in a shell's command line by quoted paths. */
function fillLine(line: string, places: Places): string {
  return line.replaceAll(placeholder, (_, kind: string, name: string) =>
    pathsOf(kind, name, places).map(shellWord).join(' '),
  );
}

/**
 * The environment of a command: what the task declares, its secrets, what every task
 * gets, TMPDIR (the scratch folder), and `PIPE_IN_name` and `PIPE_OUT_name` with the paths; for a fan-in, the path of a JSON
 * file with the list of `{ path, axes }`.
 */
export function environmentOf(job: CommandJob): Record<string, string> {
  const env: Record<string, string> = { ...commonEnvironment(), TMPDIR: job.scratch };
  const variable = (prefix: string, name: string) => `${prefix}_${name.replaceAll(/\W/g, '_')}`;
  for (const [name, value] of Object.entries(job.inputs)) {
    env[variable('PIPE_IN', name)] = typeof value === 'string' ? value : listFile(job.scratch, name, value);
  }
  for (const [name, path] of Object.entries(job.outputs)) env[variable('PIPE_OUT', name)] = path;
  return { ...env, ...job.env, ...job.secrets };
}

function listFile(scratch: string, name: string, members: readonly Member[]): string {
  const path = join(scratch, 'fan-in', `${name}.json`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(members, null, 1));
  return path;
}

/** A program and its arguments. @throws Error for a placeholder that names nothing, and for no program. */
export function wordsOf(job: CommandJob): [program: string, ...words: string[]] {
  if (job.shell) return ['/bin/sh', '-c', fillLine(job.command, job)];
  const [program, ...words] = job.command.flatMap((word) => fillWord(word, job));
  if (program === undefined) throw new Error('the command is empty');
  return [program, ...words];
}

/** How a command ended, or the system's name of the error for which it did not start. */
export type CommandEnd = { readonly code: number } | { readonly signal: string } | { readonly error: string };

/** What is wrong with a command that ended so; null when it ended well. */
export function complaintOf(program: string, end: CommandEnd): Complaint | null {
  if ('signal' in end) return { kind: 'crash', message: `the command was ended by ${end.signal}` };
  if ('code' in end) {
    return end.code === 0 ? null : { kind: 'exit-code', message: `the command ended with exit code ${end.code}` };
  }
  const message =
    end.error === 'ENOENT'
      ? `there is no program ${program}${program.includes('/') ? '' : ' in PATH'}`
      : `the command did not start: ${program}: ${end.error}`;
  return { kind: 'exit-code', message };
}

/** How long the output of a command is waited for once it has ended. */
const graceMs = 1000;

/**
 * Runs a command, its output going where this process's goes. A process's start is most of what a small command takes, so
 * this asks Node for nothing but the process.
 * @returns null, or why it failed.
 */
export function runCommand(job: CommandJob): Promise<Complaint | null> {
  return new Promise((resolve) => {
    try {
      const [program, ...words] = wordsOf(job);
      const masker = new Masker(job.secrets);
      // What may hold a secret goes through this process; all else straight to the log.
      const output = masker.isIdle ? 'inherit' : 'pipe';
      const child = spawn(program, words, {
        cwd: job.folder,
        env: environmentOf(job),
        stdio: ['ignore', output, output],
      });
      const streams = [child.stdout, child.stderr].filter((stream): stream is Readable => stream !== null);
      const flows = streams.map((stream) => {
        const flow = masker.flow();
        stream.on('data', (piece: Buffer) => process.stdout.write(flow.take(piece)));
        return flow;
      });
      child.on('error', ({ code, message }: NodeJS.ErrnoException) =>
        resolve(complaintOf(program, { error: code ?? message })),
      );
      child.on('exit', () => {
        if (streams.length === 0) return;
        // What the command leaves running may keep the pipes open.
        setTimeout(() => {
          for (const stream of streams) stream.destroy();
        }, graceMs).unref();
      });
      child.on('close', (code, signal) => {
        for (const flow of flows) process.stdout.write(flow.end());
        resolve(complaintOf(program, signal === null ? { code: code ?? 0 } : { signal }));
      });
    } catch (thrown) {
      resolve({ kind: 'exit-code', message: messageOf(thrown) });
    }
  });
}
