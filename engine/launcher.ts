/** Runs commands through launcher.cc, a small program that starts them for a fraction of what Node needs to. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { getSystemErrorName } from 'node:util';
import { type CommandEnd, complaintOf, environmentOf, wordsOf } from './command.ts';
import { messageOf } from './errors.ts';
import type { CommandJob, Complaint, Listener } from './protocol.ts';
import { strayText } from './stragglers.ts';
import type { Runner } from './supervise.ts';

/** The program, built with the command where there is a compiler; null where there is none: then workers run commands. */
export function launcherProgram(packageRoot: string): string | null {
  const program = join(packageRoot, 'dist', 'launcher');
  return process.env.PIPE_NATIVE !== 'off' && existsSync(program) ? program : null;
}

/**
 * Starts a launcher. It leads a session of its own, which what it starts belongs to.
 * @param log the file that the output of commands goes to; emptied when one begins.
 */
export function startLauncher(program: string, log: string): Runner<CommandJob> {
  const output = openSync(log, 'a');
  const child = spawn(program, [], { stdio: ['ignore', output, output, 'pipe'], detached: true, env: {} });
  const channel = child.stdio[3] as Duplex;
  let alive = true;
  /** What has come of the answer. */
  let heard = '';
  let settle: ((answer: string | { readonly died: string }) => void) | null = null;
  const gone = new Promise<void>((resolve) => {
    const end = (died: string) => {
      if (!alive) return;
      alive = false;
      closeSync(output);
      settle?.({ died });
      resolve();
    };
    child.on('exit', (code, signal) => end(`the process that started it ended with ${signal ?? `code ${code}`}`));
    child.on('error', (error) => end(`the process that starts commands could not be used: ${error.message}`));
  });
  // A failure to send shows as the process's exit.
  channel.on('error', () => undefined);
  channel.on('data', (piece: Buffer) => {
    heard += piece.toString('latin1');
    if (!/^(?:exited|killed|failed) \d+\n$/m.test(heard)) return;
    settle?.(heard);
    heard = '';
  });

  const ask = (request: Buffer) =>
    new Promise<string | { readonly died: string }>((resolve) => {
      settle = resolve;
      channel.write(request);
    });

  return {
    pid: child.pid ?? 0,
    log,
    get isAlive() {
      return alive;
    },
    async run(job, listener) {
      let words: readonly string[];
      let request: Buffer;
      try {
        words = wordsOf(job);
        request = requestOf(job.folder, words, environmentOf(job));
      } catch (thrown) {
        return { kind: 'exit-code', message: messageOf(thrown) };
      }
      if (alive) ftruncateSync(output, 0);
      const answer = alive ? await ask(request) : { died: 'the process that starts commands had ended' };
      settle = null;
      return typeof answer === 'string' ? hear(answer, words[0]!, listener) : { kind: 'crash', message: answer.died };
    },
    cancel() {
      if (alive) channel.write('!');
    },
    async stop() {
      // It ends what it has started, and itself.
      channel.destroy();
      await gone;
    },
  };
}

/** As launcher.cc reads it. */
function requestOf(folder: string, words: readonly string[], environment: Readonly<Record<string, string>>): Buffer {
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  const strings = [folder, String(words.length), ...words, ...variables];
  if (strings.some((text) => text.includes('\0'))) throw new Error('the command holds a null character');
  const text = `${strings.join('\0')}\0`;
  const request = Buffer.alloc(4 + Buffer.byteLength(text));
  request.writeUInt32LE(request.length - 4);
  request.write(text, 4);
  return request;
}

const signalNames = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** Tells what an answer of the launcher says. */
function hear(answer: string, program: string, listener: Listener): Complaint | null {
  let end: CommandEnd = { code: 0 };
  for (const line of answer.split('\n')) {
    const [what, number, ...name] = line.split(' ');
    if (what === 'left') listener.warn(strayText({ pid: Number(number), program: name.join(' ') }));
    else if (what === 'exited') end = { code: Number(number) };
    else if (what === 'killed') end = { signal: signalNames.get(Number(number)) ?? `signal ${number}` };
    else if (what === 'failed') end = { error: getSystemErrorName(-Number(number)) };
  }
  return complaintOf(program, end);
}

/** The launchers of one run. */
export interface Launchers {
  /** An idle one, or a new one. */
  take(): Promise<Runner<CommandJob>>;
  /** Gives one back; one that has died is forgotten. */
  give(launcher: Runner<CommandJob>): void;
  stopAll(): Promise<void>;
}

/**
 * @param folder where the logs lie.
 * @param prefix begins the names of the logs.
 */
export function openLaunchers(program: string, folder: string, prefix: string): Launchers {
  const idle: Runner<CommandJob>[] = [];
  const all = new Set<Runner<CommandJob>>();
  let started = 0;
  const forget = (launcher: Runner<CommandJob>) => {
    all.delete(launcher);
    rmSync(launcher.log, { force: true });
  };
  return {
    async take() {
      for (let known = idle.pop(); known !== undefined; known = idle.pop()) {
        if (known.isAlive) return known;
        forget(known);
      }
      started += 1;
      mkdirSync(folder, { recursive: true });
      const launcher = startLauncher(program, join(folder, `${prefix}-launcher-${started}.log`));
      all.add(launcher);
      return launcher;
    },
    give(launcher) {
      if (launcher.isAlive) idle.push(launcher);
      else forget(launcher);
    },
    async stopAll() {
      await Promise.all([...all].map((launcher) => launcher.stop()));
      for (const launcher of all) forget(launcher);
    },
  };
}
