/**
 * Runs tasks as jobs of a batch system, over a disk that the run and all nodes share. The jobs outlive the run: a later one finds
 * them by the folders that they were given. A job's own word, a file on that disk, is what counts; the batch system is asked
 * for what a job cannot say itself: that its node died, that it was preempted, that it never began.
 */
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
import type { Digest } from '../record.ts';
import { namesIn } from '../store.ts';
import { makeFolderWith } from '../whole.ts';
import { Gather } from './gather.ts';
import { JobFiles, jobFilesByKey, mailFolder, newJobFiles, sweepJobs } from './jobs_folder.ts';
import { type Listed, type Scheduler, SilentError } from './scheduler.ts';
import { type SubmitOptions, Submitter } from './submit.ts';
import { type SubmittedJob, Ticket } from './ticket.ts';

/** How often the mail is looked at, and of how many times the running tasks' progress is read once. */
const mailMs = 100;
const mailsPerProgress = 10;
/** The batch system is asked no more often than this, and never for more than a twentieth of the time. */
const listMs = { least: 1000, most: 30_000, share: 20 };
/** How often in a row the batch system must not know a job, or say that it will never start, to be believed: it may just have begun. */
const doubts = { unknown: 2, stuck: 3 };
/** How long the word of a job that is over may take to come through the shared disk, if one is to be expected, and if not. */
const graceMs = { expected: 10_000, otherwise: 1000 };
/** How long a cancellation is tried, and then the end of the job waited for. */
const cancelMs = 15_000;

export interface BatchOptions extends SubmitOptions {
  /** The folder cache/jobs. */
  readonly jobs: string;
  /** The most jobs at a time. */
  readonly most: number;
}

export function openBatch(scheduler: Scheduler, options: BatchOptions): Executor {
  return new Batch(scheduler, options);
}

/** What is known once the batch system has answered. */
interface Connection {
  readonly cluster: string;
  readonly submitter: Submitter;
  /** The attempts of earlier runs. */
  readonly earlier: ReadonlyMap<Digest, readonly JobFiles[]>;
}

class Batch implements Executor {
  /** The cluster shares out its own. */
  readonly total: Resources = { cpu: Infinity, gpu: Infinity, memory: Infinity };
  readonly jobs: number;
  readonly #scheduler: Scheduler;
  readonly #options: BatchOptions;
  readonly #tickets = new Set<Ticket>();
  readonly #submissions = new Gather<Ticket>((tickets) => this.#attend(tickets, this.#submit(tickets)));
  readonly #cancellations = new Gather<Ticket>((tickets) => this.#attend(tickets, this.#cancelAll(tickets)));
  #timer: NodeJS.Timeout | undefined;
  #ticks = 0;
  #listing: Promise<void> | null = null;
  #nextListAt = 0;
  #connection: Promise<Connection> | null = null;
  /** What is listed now, for those that ask at the same time. */
  #listed: Promise<readonly Listed[]> | null = null;
  /** Home -> an attempt of an earlier run that was found. */
  readonly #adopted = new Map<string, { readonly files: JobFiles; readonly job: SubmittedJob }>();
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
    return {
      home,
      make: (folders) => makeFolderWith(home, folders),
      leave: async () => (this.#left.has(home) ? undefined : files.remove()),
    };
  }

  #leave({ order }: Ticket): void {
    this.#left.add(order.place.home);
  }

  async expect(): Promise<void> {}

  async underWay(key: Digest): Promise<Order | null> {
    const { cluster, earlier } = await this.#connect();
    for (const files of earlier.get(key) ?? []) {
      const written = files.read();
      if (written === null || written.cluster !== cluster) continue;
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
    const { cluster } = await this.#connect();
    const { home } = order.place;
    const adopted = this.#adopted.get(home);
    const files = adopted?.files ?? new JobFiles(this.#options.jobs, nameIn(home));
    const { title } = this.#scheduler;
    const ticket = new Ticket({ title, cluster }, order, files, listener, signal, adopted?.job ?? null);
    const cancel = () => this.#cancel(ticket);
    this.#tickets.add(ticket);
    this.#timer ??= setInterval(() => this.#tick(), mailMs);
    signal.addEventListener('abort', cancel);
    if (adopted === undefined) this.#submissions.add(ticket);
    else listener.queued({ cluster, id: adopted.job.id }, true);
    if (signal.aborted) cancel();
    try {
      return await ticket.ended;
    } finally {
      signal.removeEventListener('abort', cancel);
      this.#tickets.delete(ticket);
      if (this.#tickets.size === 0) this.#stop();
    }
  }

  async close(): Promise<void> {
    this.#stop();
    await this.#listing;
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #connect(): Promise<Connection> {
    this.#connection ??= (async () => {
      const { cluster, mostInOneCall } = await this.#scheduler.connect();
      const { jobs } = this.#options;
      sweepJobs(jobs, false);
      const submitted = (ticket: Ticket) => {
        if (ticket.signal.aborted) this.#cancel(ticket);
        else ticket.listener.queued({ cluster, id: ticket.job!.id }, false);
      };
      const submitter = new Submitter(
        this.#scheduler,
        this.#options,
        { title: this.#scheduler.title, cluster },
        mostInOneCall,
        submitted,
        (ticket) => this.#leave(ticket),
      );
      return { cluster, submitter, earlier: jobFilesByKey(jobs) };
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

  async #submit(tickets: readonly Ticket[]): Promise<void> {
    await (await this.#connect()).submitter.submit(tickets);
  }

  /** What goes wrong in work for tickets is told to those that are open. */
  #attend(tickets: Iterable<Ticket>, work: Promise<void>): Promise<void> {
    return work.catch((thrown: unknown) => {
      for (const ticket of [...tickets]) if (ticket.isOpen) ticket.fail(thrown);
    });
  }

  #tick(): void {
    try {
      this.#readMail();
    } catch (thrown) {
      for (const ticket of this.#tickets) ticket.fail(thrown);
    }
    if (this.#listing !== null || Date.now() < this.#nextListAt || this.#tickets.size === 0) return;
    const begun = Date.now();
    this.#listing = this.#attend(this.#tickets, this.#compare()).finally(() => {
      const took = Date.now() - begun;
      this.#nextListAt = Date.now() + Math.min(listMs.most, Math.max(listMs.least, listMs.share * took));
      this.#listing = null;
    });
  }

  #readMail(): void {
    const mail = new Set(namesIn(mailFolder(this.#options.jobs)));
    this.#ticks += 1;
    const now = Date.now();
    for (const ticket of this.#tickets) {
      if (!ticket.isOpen) continue;
      const { files, over } = ticket;
      const isEnded = mail.has(`${files.name}.ended`);
      if (isEnded || mail.has(`${files.name}.started`)) ticket.start();
      if (isEnded || this.#ticks % mailsPerProgress === 0) ticket.hear();
      if ((isEnded && ticket.endByWord()) || over === null) continue;
      const isExpected = over.complaint === null && !isEnded && !ticket.signal.aborted;
      if (now - over.since > (isExpected ? graceMs.expected : graceMs.otherwise)) ticket.end(over.complaint);
    }
  }

  /** Asks the batch system about all jobs. */
  async #compare(): Promise<void> {
    const asked = [...this.#tickets].filter(({ job, isOpen }) => job !== null && isOpen);
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
      if (phase === undefined || phase.kind === 'stuck') ticket.doubts += 1;
      else ticket.doubts = 0;
      if (phase === undefined) {
        const complaint = { kind: 'lost', message: `${title} does not know it any more` } as const;
        if (ticket.doubts >= doubts.unknown) ticket.over ??= { complaint, since: Date.now() };
        continue;
      }
      if (phase.kind === 'over') ticket.over ??= { complaint: phase.complaint, since: Date.now() };
      if (phase.kind === 'stuck' && ticket.doubts >= doubts.stuck) {
        await this.#scheduler.cancel([id]).catch(() => undefined);
        ticket.end(phase.complaint);
      }
      if (phase.kind === 'waiting' && phase.obstacle !== null && phase.obstacle !== ticket.obstacle) {
        ticket.obstacle = phase.obstacle;
        ticket.listener.warn(`${title} lets job ${id} wait: ${phase.obstacle}`);
      }
    }
  }

  #cancel(ticket: Ticket): void {
    // One that has no job yet is cancelled by its submission.
    if (ticket.job !== null) this.#cancellations.add(ticket);
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
            this.#leave(ticket);
            ticket.listener.warn(
              `${thrown.message}, so ${list} could not be cancelled: run again and the work is taken up, or cancel it by hand`,
            );
            ticket.endCancelled();
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
      if (ticket.isOpen) ticket.endCancelled();
    }
  }
}

/** The attempt's name in the path of its private folder. */
function nameIn(home: string): string {
  return home.split('/').at(-2)!;
}
