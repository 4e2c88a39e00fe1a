/**
 * Runs tasks as jobs of a batch system, over a disk that the run and all nodes share. The jobs outlive the run: a later one finds
 * them by the folders that they were given. A job's own word, a file on that disk, is what counts; the batch system is asked
 * for what a job cannot say itself: that its node died, that it was preempted, that it never began.
 */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type Ended,
  type Executor,
  type Order,
  type OrderListener,
  type Place,
  UnavailableError,
} from '../executor.ts';
import type { Resources } from '../graph.ts';
import { readLog } from '../logs.ts';
import type { Complaint } from '../protocol.ts';
import type { Digest } from '../record.ts';
import { namesIn } from '../store.ts';
import {
  JobFiles,
  jobFilesByKey,
  type LastWord,
  mailFolder,
  newJobFiles,
  ReplyReader,
  sweepJobs,
} from './jobs_folder.ts';
import { type Listed, RefusedError, type Scheduler, SilentError } from './scheduler.ts';

/** How often the mail is looked at, and of how many times the running tasks' progress is read once. */
const mailMs = 100;
const mailsPerProgress = 10;
/** The batch system is asked no more often than this, and never for more than a twentieth of the time. */
const listMs = { least: 1000, most: 30_000, share: 20 };
/** Tasks that become ready within this time of each other are submitted together. */
const gatherMs = 50;
/** How long the word of a job that is over may take to come through the shared disk, if one is to be expected, and if not. */
const graceMs = { expected: 10_000, otherwise: 1000 };
/** How long a cancellation is tried, and then the end of the job waited for. */
const cancelMs = 15_000;

/** What a run knows of an attempt. */
interface Ticket {
  readonly order: Order;
  readonly files: JobFiles;
  readonly listener: OrderListener;
  readonly signal: AbortSignal;
  readonly replies: ReplyReader;
  readonly settle: (ended: Ended) => void;
  readonly fail: (thrown: unknown) => void;
  /** Null until it is submitted. */
  job: { readonly tag: string; readonly index: number; readonly id: string } | null;
  started: boolean;
  word: LastWord | null;
  /** What the batch system said when the job was over, and when it was first seen to be. */
  over: { readonly complaint: Complaint | null; readonly since: number } | null;
  /** How often in a row the batch system did not know the job. */
  unknown: number;
  obstacle: string | null;
}

export interface BatchOptions {
  /** The folder cache/jobs. */
  readonly jobs: string;
  /** The programs that workers, and jobs, run. */
  readonly workerEntry: () => Promise<string>;
  readonly nodeProgram: () => Promise<string>;
  /** Begins the name of jobs. */
  readonly name: string;
  /** The most jobs at a time. */
  readonly most: number;
  /** How long a submission is tried again when nobody answers. */
  readonly patienceMs: number;
}

export function openBatch(scheduler: Scheduler, options: BatchOptions): Executor {
  return new Batch(scheduler, options);
}

class Batch implements Executor {
  /** The cluster shares out its own. */
  readonly total: Resources = { cpu: Infinity, gpu: Infinity, memory: Infinity };
  readonly jobs: number;
  readonly #scheduler: Scheduler;
  readonly #options: BatchOptions;
  readonly #tickets = new Set<Ticket>();
  /** Not submitted yet. */
  #gathered: Ticket[] = [];
  #gathering: NodeJS.Timeout | null = null;
  #cancelling: Ticket[] | null = null;
  #timer: NodeJS.Timeout | null = null;
  #ticks = 0;
  #listing: Promise<void> | null = null;
  #nextListAt = 0;
  #connection: Promise<{ readonly mostInOneCall: number }> | null = null;
  #cluster = '';
  #earlier: ReadonlyMap<Digest, readonly JobFiles[]> = new Map();
  /** What is listed now, for those that ask at the same time. */
  #listed: Promise<readonly Listed[]> | null = null;
  readonly #adopted = new Map<string, { readonly files: JobFiles; readonly job: Ticket['job'] & object }>();
  /** Homes of attempts that may still run when this run is over. */
  readonly #left = new Set<string>();

  constructor(scheduler: Scheduler, options: BatchOptions) {
    this.#scheduler = scheduler;
    this.#options = options;
    this.jobs = options.most;
  }

  place(key: Digest): Place {
    return this.#placeOf(newJobFiles(this.#options.jobs, key));
  }

  #placeOf(files: JobFiles): Place {
    const { home } = files;
    return { home, remove: async () => (this.#left.has(home) ? undefined : files.remove()) };
  }

  async underWay(key: Digest): Promise<Order | null> {
    await this.#connect();
    for (const files of this.#earlier.get(key) ?? []) {
      const written = files.read();
      if (written === null || written.cluster !== this.#cluster) continue;
      const isThere = () => files.exitCode() !== null && files.lastWord()?.complaint === null;
      const listed = files.exitCode() === null ? await this.#find(written.tag, written.index) : null;
      if (!isThere() && (listed === null || listed.phase.kind === 'over')) {
        // What failed while nobody looked is tried again.
        await files.remove();
        continue;
      }
      const { tag, index, job, task, stage, timeoutSeconds } = written;
      const id = listed?.id ?? files.lastWord()?.job ?? '';
      this.#adopted.set(files.home, { files, job: { tag, index, id } });
      const resources = { cpu: 0, gpu: 0, memory: 0 };
      return { key, task, stage, place: this.#placeOf(files), job, resources, timeoutSeconds };
    }
    return null;
  }

  async run(order: Order, listener: OrderListener, signal: AbortSignal): Promise<Ended> {
    await this.#connect();
    const adopted = this.#adopted.get(order.place.home);
    return new Promise<Ended>((resolve, reject) => {
      const files = adopted?.files ?? new JobFiles(this.#options.jobs, nameIn(order.place.home));
      const cancel = () => this.#cancel(ticket);
      const close = () => {
        this.#tickets.delete(ticket);
        signal.removeEventListener('abort', cancel);
        if (this.#tickets.size === 0 && this.#timer !== null) {
          clearInterval(this.#timer);
          this.#timer = null;
        }
      };
      const ticket: Ticket = {
        order,
        files,
        listener,
        signal,
        replies: new ReplyReader(files.replies),
        settle: (ended) => {
          close();
          resolve(ended);
        },
        fail: (thrown) => {
          close();
          reject(thrown);
        },
        job: adopted?.job ?? null,
        started: false,
        word: null,
        over: null,
        unknown: 0,
        obstacle: null,
      };
      this.#tickets.add(ticket);
      this.#timer ??= setInterval(() => this.#tick(), mailMs);
      signal.addEventListener('abort', cancel);
      if (adopted === undefined) this.#gather(ticket);
      else listener.queued({ cluster: this.#cluster, id: adopted.job.id }, true);
      if (signal.aborted) cancel();
    });
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#listing;
  }

  #connect(): Promise<{ readonly mostInOneCall: number }> {
    this.#connection ??= (async () => {
      const connection = await this.#scheduler.connect();
      this.#cluster = connection.cluster;
      sweepJobs(this.#options.jobs, false);
      this.#earlier = jobFilesByKey(this.#options.jobs);
      return connection;
    })();
    return this.#connection;
  }

  async #find(tag: string, index: number): Promise<Listed | null> {
    this.#listed ??= this.#scheduler.list().finally(() => {
      this.#listed = null;
    });
    const all = await this.#listed.catch((thrown: unknown) => {
      if (!(thrown instanceof SilentError)) throw thrown;
      throw new UnavailableError(
        `${thrown.message}\n  jobs of an earlier run may be at work: run again when it answers`,
      );
    });
    return all.find((listed) => listed.tag === tag && listed.index === index) ?? null;
  }

  // Submitting

  #gather(ticket: Ticket): void {
    this.#gathered.push(ticket);
    if (this.#gathering !== null) clearTimeout(this.#gathering);
    this.#gathering = setTimeout(() => {
      const tickets = this.#gathered;
      this.#gathered = [];
      this.#submitAll(tickets).catch((thrown: unknown) => {
        for (const open of tickets) if (open.job === null) open.fail(thrown);
      });
    }, gatherMs);
  }

  /** Tasks of a stage that ask for the same are one array. */
  async #submitAll(tickets: readonly Ticket[]): Promise<void> {
    const { mostInOneCall } = await this.#connect();
    const groups = new Map<string, Ticket[]>();
    for (const ticket of tickets) {
      if (ticket.signal.aborted) continue;
      const { stage, resources, timeoutSeconds } = ticket.order;
      const shape = JSON.stringify([stage, resources, timeoutSeconds]);
      const group = groups.get(shape);
      if (group === undefined) groups.set(shape, [ticket]);
      else group.push(ticket);
    }
    const calls = [...groups.values()].flatMap((group) =>
      Array.from({ length: Math.ceil(group.length / mostInOneCall) }, (_, i) =>
        group.slice(i * mostInOneCall, (i + 1) * mostInOneCall),
      ),
    );
    await Promise.all(calls.map((call) => this.#submit(call)));
  }

  async #submit(tickets: readonly Ticket[]): Promise<void> {
    const [worker, program] = await Promise.all([this.#options.workerEntry(), this.#options.nodeProgram()]);
    const cluster = this.#cluster;
    const tag = `pipe-${randomBytes(8).toString('hex')}`;
    for (const [index, { order, files }] of tickets.entries()) {
      const { key, task, stage, timeoutSeconds } = order;
      const [job, secrets] = [{ ...order.job, secrets: {} }, Object.keys(order.job.secrets)];
      files.write({ key, task, stage, job, secrets, timeoutSeconds, worker, cluster, tag, index }, program);
    }
    const { stage, resources, timeoutSeconds } = tickets[0]!.order;
    const submission = {
      name: `${this.#options.name}/${stage}`,
      stage,
      tag,
      scripts: tickets.map(({ files }) => files.startScript),
      resources,
      timeoutSeconds,
    };
    const deadline = Date.now() + this.#options.patienceMs;
    for (;;) {
      try {
        this.#submitted(tickets, tag, await this.#scheduler.submit(submission));
        return;
      } catch (thrown) {
        if (thrown instanceof RefusedError) {
          const message = `${this.#scheduler.title} does not take its job: ${thrown.message}`;
          for (const ticket of tickets) this.#end(ticket, { kind: 'refused', message });
          return;
        }
        if (!(thrown instanceof SilentError)) throw thrown;
        const ids = await this.#whetherTaken(tickets, tag, deadline, thrown);
        if (ids === 'no') continue;
        if (ids !== 'unknown') this.#submitted(tickets, tag, ids);
        return;
      }
    }
  }

  /** After a submission without an answer: finds out whether it was taken. Gives up after a while, and ends the tickets. */
  async #whetherTaken(
    tickets: readonly Ticket[],
    tag: string,
    deadline: number,
    silent: SilentError,
  ): Promise<readonly string[] | 'no' | 'unknown'> {
    for (const { listener } of tickets) {
      listener.warn(`${silent.message}; it is asked again for ${Math.round(this.#options.patienceMs / 1000)} s`);
    }
    const isWanted = (ticket: Ticket) => this.#tickets.has(ticket) && !ticket.signal.aborted;
    while (Date.now() < deadline && tickets.some(isWanted)) {
      await delay(listMs.least);
      try {
        const ours = (await this.#scheduler.list()).filter((listed) => listed.tag === tag);
        if (ours.length === 0) return 'no';
        return tickets.map((_, index) => ours.find((listed) => listed.index === index)?.id ?? '');
      } catch (thrown) {
        if (!(thrown instanceof SilentError)) throw thrown;
      }
    }
    for (const ticket of tickets) {
      // It may have told by itself that it was taken, and is over.
      if (!this.#tickets.has(ticket)) continue;
      this.#left.add(ticket.order.place.home);
      this.#end(ticket, {
        kind: 'refused',
        message: `${silent.message}. What is finished is kept; run again when it answers: a job that was taken after all is found then`,
      });
    }
    return 'unknown';
  }

  #submitted(tickets: readonly Ticket[], tag: string, ids: readonly string[]): void {
    for (const [index, ticket] of tickets.entries()) {
      const id = ids[index]!;
      ticket.job = { tag, index, id };
      if (!this.#tickets.has(ticket)) continue;
      if (ticket.signal.aborted) this.#cancel(ticket);
      else ticket.listener.queued({ cluster: this.#cluster, id }, false);
    }
  }

  // Watching

  #tick(): void {
    try {
      this.#readMail();
    } catch (thrown) {
      for (const ticket of [...this.#tickets]) ticket.fail(thrown);
    }
    if (this.#listing !== null || Date.now() < this.#nextListAt || this.#tickets.size === 0) return;
    const begun = Date.now();
    this.#listing = this.#compare()
      .catch((thrown: unknown) => {
        for (const ticket of [...this.#tickets]) ticket.fail(thrown);
      })
      .finally(() => {
        const took = Date.now() - begun;
        this.#nextListAt = Date.now() + Math.min(listMs.most, Math.max(listMs.least, listMs.share * took));
        this.#listing = null;
      });
  }

  #readMail(): void {
    const mail = new Set(namesIn(mailFolder(this.#options.jobs)));
    this.#ticks += 1;
    const now = Date.now();
    for (const ticket of [...this.#tickets]) {
      const { files, listener, over } = ticket;
      if (!ticket.started && mail.has(`${files.name}.started`)) {
        ticket.started = true;
        listener.started(files.log);
      }
      const isEnded = mail.has(`${files.name}.ended`);
      if (ticket.started && (isEnded || this.#ticks % mailsPerProgress === 0)) this.#hear(ticket);
      if (isEnded && ticket.word !== null) this.#end(ticket, ticket.word.complaint);
      else if (over !== null) {
        const isExpected = over.complaint === null && !isEnded && !ticket.signal.aborted;
        if (now - over.since > (isExpected ? graceMs.expected : graceMs.otherwise)) {
          this.#end(ticket, over.complaint ?? this.#wordless(ticket));
        }
      }
    }
  }

  /** A job that ended by itself and did not say how: the program on the node died, or could not begin. */
  #wordless({ files }: Ticket): Complaint {
    const code = files.exitCode();
    if (code !== null) return { kind: 'crash', message: `it ended with exit code ${code} before the task was done` };
    const message = `it ended and left no word of how. Do all nodes see ${this.#options.jobs}, and ${process.execPath}?`;
    return { kind: 'lost', message };
  }

  /** Passes on what a task has told since. */
  #hear(ticket: Ticket): void {
    const { listener } = ticket;
    for (const told of ticket.replies.next()) {
      if (told.type === 'progress') listener.progress(told.done, told.total);
      else if (told.type === 'warning') listener.warn(told.message);
      else if (told.type === 'measure') listener.measure(told.name, told.value);
      else ticket.word = told;
    }
  }

  /** Asks the batch system about all jobs. */
  async #compare(): Promise<void> {
    const asked = [...this.#tickets].filter(({ job }) => job !== null);
    if (asked.length === 0) return;
    let all: readonly Listed[];
    try {
      all = await this.#scheduler.list();
    } catch (thrown) {
      if (!(thrown instanceof SilentError)) throw thrown;
      for (const { listener } of asked) {
        listener.warn(`${thrown.message}; what runs goes on, and its end is heard of through the shared disk`);
      }
      return;
    }
    const byJob = new Map(all.map((listed) => [`${listed.tag}/${listed.index}`, listed]));
    for (const ticket of asked) {
      const { tag, index, id } = ticket.job!;
      const phase = byJob.get(`${tag}/${index}`)?.phase;
      const { title } = this.#scheduler;
      if (phase === undefined) {
        ticket.unknown += 1;
        // Once may be a moment between two answers.
        if (ticket.unknown > 1) {
          ticket.over ??= {
            complaint: { kind: 'lost', message: `${title} does not know it any more` },
            since: Date.now(),
          };
        }
        continue;
      }
      ticket.unknown = 0;
      if (phase.kind === 'over') ticket.over ??= { complaint: phase.complaint, since: Date.now() };
      if (phase.kind === 'hopeless') {
        await this.#scheduler.cancel([id]).catch(() => undefined);
        const message = `${title} would never start it (${phase.obstacle}): ask for less, or for another partition`;
        this.#end(ticket, { kind: 'refused', message });
      }
      if (phase.kind === 'waiting' && phase.obstacle !== null && phase.obstacle !== ticket.obstacle) {
        ticket.obstacle = phase.obstacle;
        ticket.listener.warn(`${title} lets job ${id} wait: ${phase.obstacle}`);
      }
    }
  }

  /** Ends a ticket. */
  #end(ticket: Ticket, complaint: Complaint | null): void {
    const { files, word, job } = ticket;
    const log = existsSync(files.log) ? readLog(files.log) : Buffer.alloc(0);
    if (word !== null && complaint === null) {
      if (!ticket.started) ticket.listener.started(files.log);
      const { startedAt, seconds, host } = word;
      const name = { cluster: this.#cluster, id: job?.id ?? word.job };
      ticket.settle({ complaint, log, startedAt: new Date(startedAt), seconds, host, job: name });
      return;
    }
    const { kind, message, stack } = complaint ?? this.#wordless(ticket);
    const named = word === null && job !== null ? `${this.#scheduler.title} job ${job.id}: ${message}` : message;
    ticket.settle({ complaint: { kind, message: named, ...(stack === undefined ? {} : { stack }) }, log });
  }

  // Cancelling

  #cancel(ticket: Ticket): void {
    if (ticket.job === null) {
      // It is in a submission that goes on (and is cancelled when that is over), or was never in one.
      if (this.#gathered.includes(ticket)) this.#end(ticket, { kind: 'crash', message: 'it was cancelled' });
      return;
    }
    if (this.#cancelling !== null) {
      this.#cancelling.push(ticket);
      return;
    }
    const tickets = [ticket];
    this.#cancelling = tickets;
    setTimeout(() => {
      this.#cancelling = null;
      this.#cancelAll(tickets).catch((thrown: unknown) => {
        for (const open of tickets) open.fail(thrown);
      });
    }, gatherMs);
  }

  async #cancelAll(tickets: readonly Ticket[]): Promise<void> {
    const ids = tickets.map(({ job }) => job!.id);
    const deadline = Date.now() + Math.min(cancelMs, this.#options.patienceMs);
    for (;;) {
      try {
        await this.#scheduler.cancel(ids);
        break;
      } catch (thrown) {
        if (!(thrown instanceof SilentError)) throw thrown;
        if (Date.now() > deadline) {
          const list = ids.length === 1 ? `job ${ids[0]}` : `jobs ${ids.join(', ')}`;
          for (const ticket of tickets) {
            this.#left.add(ticket.order.place.home);
            ticket.listener.warn(
              `${thrown.message}, so ${list} could not be cancelled: run again and the work is taken up, or cancel it by hand`,
            );
            this.#end(ticket, { kind: 'crash', message: 'it was cancelled' });
          }
          return;
        }
        await delay(listMs.least);
      }
    }
    this.#nextListAt = 0;
    // The process does not wait for it: most jobs end in a moment, and the run with them.
    await delay(cancelMs, undefined, { ref: false });
    // A job that will not end has lost its folder soon, and ends itself.
    for (const ticket of tickets) {
      if (this.#tickets.has(ticket)) this.#end(ticket, { kind: 'crash', message: 'it was cancelled' });
    }
  }
}

/** The attempt's name in the path of its private folder. */
function nameIn(home: string): string {
  return home.split('/').at(-2)!;
}
