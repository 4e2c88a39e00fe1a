/**
 * What is on the shared disk of attempts that outlive the run that began them: `cache/jobs/<key>-<process>-<n>/` holds
 *
 *     order.json    what is to run; written before the job is submitted, so that a later run finds both
 *     start.sh      what the job runs
 *     taken/        made by the job that begins it: a job that finds it does nothing
 *     replies       what the task tells, a line of JSON each; the last is how it ended
 *     log           what the task prints
 *     task/         its private folder: in/, out/, scratch/
 *
 * and `cache/jobs/mail/` one file for each attempt that has begun, and one, with the exit code, for each that has ended: reading
 * that one folder tells of all of them, however many there are and whether or not the cluster still remembers the job.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { errorCode } from '../errors.ts';
import { identityText, isAlive, parseIdentity, self } from '../identity.ts';
import type { Complaint, Job, Reply } from '../protocol.ts';
import type { Digest, Host } from '../record.ts';
import { shellWord } from '../shell_word.ts';
import { namesIn, removeTree } from '../store.ts';
import { writeWhole } from '../whole.ts';

/** The content of `order.json`. */
export interface WrittenOrder {
  readonly key: Digest;
  readonly task: string;
  readonly stage: string;
  /** Without the values of secrets: this is a file, and they come with the environment of the job. */
  readonly job: Job;
  readonly secrets: readonly string[];
  readonly timeoutSeconds: number | null;
  /** The program that worker processes run. */
  readonly worker: string;
  readonly cluster: string;
  readonly tag: string;
  readonly index: number;
}

/** The last line of `replies`. */
export interface LastWord {
  readonly type: 'ended';
  readonly complaint: Complaint | null;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly seconds: number;
  readonly host: Host;
  readonly job: string;
}

/** A line of `replies`. */
export type Told = Extract<Reply, { type: 'progress' | 'warning' | 'measure' }> | LastWord;

/** The files of one attempt. */
export class JobFiles {
  readonly name: string;
  readonly folder: string;
  readonly home: string;
  readonly log: string;
  readonly replies: string;
  readonly startScript: string;
  readonly #jobs: string;

  constructor(jobs: string, name: string) {
    this.#jobs = jobs;
    this.name = name;
    this.folder = join(jobs, name);
    this.home = join(this.folder, 'task');
    this.log = join(this.folder, 'log');
    this.replies = join(this.folder, 'replies');
    this.startScript = join(this.folder, 'start.sh');
  }

  /** Writes what is to run. @param program what the job runs, with the attempt's folder as its argument. */
  write(order: WrittenOrder, program: string): void {
    const ended = join(mailFolder(this.#jobs), `${this.name}.ended`);
    mkdirSync(mailFolder(this.#jobs), { recursive: true });
    const script = [
      '#!/bin/sh',
      `mkdir ${shellWord(join(this.folder, 'taken'))} || exit 75`,
      `exec >> ${shellWord(this.log)} 2>&1`,
      `: > ${shellWord(join(mailFolder(this.#jobs), `${this.name}.started`))}`,
      `${shellWord(process.execPath)} --enable-source-maps ${shellWord(program)} ${shellWord(this.folder)}`,
      'code=$?',
      // One that was given up tells nobody.
      `[ -d ${shellWord(this.folder)} ] || exit 75`,
      `echo $code > ${shellWord(`${ended}.tmp`)} && mv ${shellWord(`${ended}.tmp`)} ${shellWord(ended)}`,
      'exit $code',
      '',
    ];
    writeWhole(this.startScript, script.join('\n'));
    writeWhole(join(this.folder, 'order.json'), `${JSON.stringify(order)}\n`);
  }

  /** The order, or null while there is none, or when the project lay elsewhere when it was written. */
  read(): WrittenOrder | null {
    try {
      const order = JSON.parse(readFileSync(join(this.folder, 'order.json'), 'utf8')) as WrittenOrder;
      return order.job.folder === join(this.home, 'out') ? order : null;
    } catch {
      return null;
    }
  }

  /** The exit code that the job left when it ended; null before. */
  exitCode(): number | null {
    try {
      return Number(readFileSync(join(mailFolder(this.#jobs), `${this.name}.ended`), 'utf8'));
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return null;
      throw thrown;
    }
  }

  /** How the attempt ended by its own word; null when it left none. */
  lastWord(): LastWord | null {
    const last = new ReplyReader(this.replies).next().at(-1);
    return last?.type === 'ended' ? last : null;
  }

  /**
   * The folder loses its name before it goes: whatever still runs on a node that was given up finds nothing to write to, and
   * ends itself.
   */
  async remove(): Promise<void> {
    const gone = join(this.#jobs, `gone-${this.name}`);
    try {
      renameSync(this.folder, gone);
    } catch (thrown) {
      if (errorCode(thrown) !== 'ENOENT') throw thrown;
    }
    removeTree(gone);
    for (const mail of ['started', 'ended', 'ended.tmp']) {
      rmSync(join(mailFolder(this.#jobs), `${this.name}.${mail}`), { force: true });
    }
  }
}

/** Reads the lines that are added to a file. */
export class ReplyReader {
  readonly #path: string;
  #at = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** The lines that are whole and new. */
  next(): Told[] {
    let file: number;
    try {
      file = openSync(this.#path, 'r');
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return [];
      throw thrown;
    }
    try {
      const added = fstatSync(file).size - this.#at;
      if (added <= 0) return [];
      const buffer = Buffer.alloc(added);
      const read = readSync(file, buffer, 0, added, this.#at);
      const whole = buffer.subarray(0, buffer.subarray(0, read).lastIndexOf('\n') + 1);
      this.#at += whole.length;
      return whole
        .toString('utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Told);
    } finally {
      closeSync(file);
    }
  }
}

export function jobsFolder(cache: string): string {
  return join(cache, 'jobs');
}

export function mailFolder(jobs: string): string {
  return join(jobs, 'mail');
}

let made = 0;

/** The files of a new attempt; its name begins with the key, by which a later run finds it. */
export function newJobFiles(jobs: string, key: Digest): JobFiles {
  made += 1;
  return new JobFiles(jobs, `${key}-${identityText(self())}-${made}`);
}

/** All attempts on the disk, by key. */
export function jobFilesByKey(jobs: string): ReadonlyMap<Digest, readonly JobFiles[]> {
  const found = new Map<Digest, JobFiles[]>();
  for (const name of namesIn(jobs)) {
    const [key] = /^[0-9a-f]{64}(?=-)/.exec(name) ?? [];
    if (key === undefined) continue;
    const files = new JobFiles(jobs, name);
    const others = found.get(key);
    if (others === undefined) found.set(key, [files]);
    else others.push(files);
  }
  return found;
}

/** Whether there are attempts that may be at work: they read folders of artifacts, and bundled code, from the cache. */
export function hasJobs(jobs: string): boolean {
  return [...jobFilesByKey(jobs).values()].flat().some((files) => files.exitCode() === null);
}

/**
 * Removes what nobody comes back to: attempts of dead runs that were never submitted, those given up, and mail without an attempt.
 * @param alsoEnded whether attempts that have ended, and whose result no run came for, go too.
 */
export function sweepJobs(jobs: string, alsoEnded: boolean): void {
  for (const name of namesIn(jobs)) {
    if (name.startsWith('gone-')) removeTree(join(jobs, name));
    const owner = parseIdentity(name.slice(65));
    if (!/^[0-9a-f]{64}-/.test(name) || (owner !== null && isAlive(owner))) continue;
    const files = new JobFiles(jobs, name);
    if (!existsSync(join(files.folder, 'order.json')) || (alsoEnded && files.exitCode() !== null)) {
      removeTree(files.folder);
    }
  }
  for (const name of namesIn(mailFolder(jobs))) {
    if (!existsSync(join(jobs, name.replace(/\..*$/, '')))) rmSync(join(mailFolder(jobs), name), { force: true });
  }
}
