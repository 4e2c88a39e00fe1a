/** Gives attempts to a batch system: those that ask for the same together, each once, whatever becomes of the answer. */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { RefusedError, type Scheduler, SilentError } from './scheduler.ts';
import type { System, Ticket } from './ticket.ts';

/** How often a system that does not answer is asked again. */
const againMs = 1000;

export interface SubmitOptions {
  /** The programs that workers, and jobs, run. */
  readonly workerEntry: () => Promise<string>;
  readonly nodeProgram: () => Promise<string>;
  /** Begins the name of jobs. */
  readonly name: string;
  /** How long a submission is tried again when nobody answers. */
  readonly patienceMs: number;
}

export class Submitter {
  readonly #scheduler: Scheduler;
  readonly #options: SubmitOptions;
  readonly #system: System;
  readonly #mostInOneCall: number;
  readonly #submitted: (ticket: Ticket) => void;
  readonly #leave: (ticket: Ticket) => void;

  /**
   * @param submitted hears of each ticket that has a job now.
   * @param leave hears of each whose job may run though nobody answered.
   */
  constructor(
    scheduler: Scheduler,
    options: SubmitOptions,
    system: System,
    mostInOneCall: number,
    submitted: (ticket: Ticket) => void,
    leave: (ticket: Ticket) => void,
  ) {
    this.#scheduler = scheduler;
    this.#options = options;
    this.#system = system;
    this.#mostInOneCall = mostInOneCall;
    this.#submitted = submitted;
    this.#leave = leave;
  }

  /** Tasks of a stage that ask for the same are one array. */
  async submit(tickets: readonly Ticket[]): Promise<void> {
    const most = this.#mostInOneCall;
    const groups = new Map<string, Ticket[]>();
    for (const ticket of tickets) {
      if (ticket.signal.aborted) {
        ticket.endCancelled();
        continue;
      }
      const { stage, resources, timeoutSeconds } = ticket.order;
      const shape = JSON.stringify([stage, resources, timeoutSeconds]);
      const group = groups.get(shape);
      if (group === undefined) groups.set(shape, [ticket]);
      else group.push(ticket);
    }
    const calls = [...groups.values()].flatMap((group) =>
      Array.from({ length: Math.ceil(group.length / most) }, (_, i) => group.slice(i * most, (i + 1) * most)),
    );
    await Promise.all(calls.map((call) => this.#submitTogether(call)));
  }

  async #submitTogether(tickets: readonly Ticket[]): Promise<void> {
    const [worker, program] = await Promise.all([this.#options.workerEntry(), this.#options.nodeProgram()]);
    const { cluster } = this.#system;
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
        this.#note(tickets, tag, await this.#scheduler.submit(submission));
        return;
      } catch (thrown) {
        if (thrown instanceof RefusedError) {
          const message = `${this.#scheduler.title} does not take its job: ${thrown.message}`;
          for (const ticket of tickets) ticket.end({ kind: 'refused', message });
          return;
        }
        if (!(thrown instanceof SilentError)) throw thrown;
        const ids = await this.#whetherTaken(tickets, tag, deadline, thrown);
        if (ids === 'no') continue;
        if (ids !== 'unknown') this.#note(tickets, tag, ids);
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
    const isWanted = (ticket: Ticket) => ticket.isOpen && !ticket.signal.aborted;
    while (Date.now() < deadline && tickets.some(isWanted)) {
      await delay(againMs);
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
      if (!ticket.isOpen) continue;
      this.#leave(ticket);
      ticket.end({
        kind: 'refused',
        message: `${silent.message}. What is finished is kept; run again when it answers: a job that was taken after all is found then`,
      });
    }
    return 'unknown';
  }

  #note(tickets: readonly Ticket[], tag: string, ids: readonly string[]): void {
    for (const [index, ticket] of tickets.entries()) {
      ticket.job = { tag, index, id: ids[index]! };
      if (ticket.isOpen) this.#submitted(ticket);
    }
  }
}
