/** Resource pools: tasks are admitted in order of priority while cpu, gpu and memory last. */
import { availableParallelism, totalmem } from 'node:os';
import PQueue, { type Queue, type QueueAddOptions } from 'p-queue';
import { machineGpus } from './devices.ts';
import type { Resources } from './graph.ts';

/** What this machine offers: its cores, its GPUs, and nine tenths of its memory. */
export function machineResources(): Resources {
  return { cpu: availableParallelism(), gpu: machineGpus().length, memory: Math.floor(totalmem() * 0.9) };
}

/** What of a pool's total a task is granted; cpu and memory beyond the total mean all of it. Null when it needs GPUs that are not there. */
export function granted(wanted: Resources, total: Resources): Resources | null {
  if (wanted.gpu > total.gpu) return null;
  return { cpu: Math.min(wanted.cpu, total.cpu), gpu: wanted.gpu, memory: Math.min(wanted.memory, total.memory) };
}

type Run = () => Promise<unknown>;
interface Options extends QueueAddOptions {
  readonly needs?: Resources;
}
interface Waiting {
  readonly run: Run;
  readonly priority: number;
  /** Counts what was queued: equal priorities stay in order. */
  readonly turn: number;
  readonly needs: Resources;
}

/** Whether an entry is to start before another. */
function isBefore(one: Waiting, other: Waiting): boolean {
  return one.priority > other.priority || (one.priority === other.priority && one.turn < other.turn);
}

/** What is left of the pools at the moment. */
class Free {
  #cpu: number;
  #gpu: number;
  #memory: number;

  constructor({ cpu, gpu, memory }: Resources) {
    this.#cpu = cpu;
    this.#gpu = gpu;
    this.#memory = memory;
  }

  fits({ cpu, gpu, memory }: Resources): boolean {
    return cpu <= this.#cpu && gpu <= this.#gpu && memory <= this.#memory;
  }

  take({ cpu, gpu, memory }: Resources): void {
    this.#cpu -= cpu;
    this.#gpu -= gpu;
    this.#memory -= memory;
  }

  give({ cpu, gpu, memory }: Resources): void {
    this.take({ cpu: -cpu, gpu: -gpu, memory: -memory });
  }
}

/**
 * A queue for p-queue that shows only what fits into what is free: to p-queue, it is empty while nothing does. Entries of equal needs
 * stand in one line, so that to find the next one, which is asked often, only the heads are looked at.
 */
class FittingQueue implements Queue<Run, Options> {
  readonly #lines = new Map<string, Waiting[]>();
  readonly #free: Free;
  #turns = 0;

  constructor(free: Free) {
    this.#free = free;
  }

  get size(): number {
    return this.#next()?.length ?? 0;
  }

  /** The priority of what starts next; minus infinity when nothing does. */
  get priority(): number {
    return this.#next()?.at(0)?.priority ?? Number.NEGATIVE_INFINITY;
  }

  enqueue(run: Run, options?: Partial<Options>): void {
    const needs = options?.needs ?? { cpu: 0, gpu: 0, memory: 0 };
    this.#turns += 1;
    const entry = { run, priority: options?.priority ?? 0, turn: this.#turns, needs };
    const kind = `${needs.cpu} ${needs.gpu} ${needs.memory}`;
    let line = this.#lines.get(kind);
    if (line === undefined) {
      line = [];
      this.#lines.set(kind, line);
    }
    // Binary search for the end of the entries that come before it.
    let low = 0;
    let high = line.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(line[middle]!, entry)) low = middle + 1;
      else high = middle;
    }
    line.splice(low, 0, entry);
  }

  /** Takes the entry out, and what it needs from the pools. */
  dequeue(): Run | undefined {
    const entry = this.#next()?.shift();
    if (entry !== undefined) this.#free.take(entry.needs);
    return entry?.run;
  }

  filter(options: Readonly<Partial<Options>>): Run[] {
    const all = [...this.#lines.values()].flat();
    return all.filter(({ priority }) => priority === options.priority).map(({ run }) => run);
  }

  setPriority(): void {
    throw new Error('priorities are fixed when a task is queued');
  }

  /** The line that the next entry is the first of. */
  #next(): Waiting[] | undefined {
    let next: Waiting[] | undefined;
    for (const line of this.#lines.values()) {
      const [first] = line;
      if (first === undefined || !this.#free.fits(first.needs)) continue;
      if (next === undefined || isBefore(first, next[0]!)) next = line;
    }
    return next;
  }
}

/** Gives a place to others. @param following the highest priority of what waits for this work; minus infinity when nothing does. */
export type Vacate = (following: number) => void;

/** Admits work to one set of pools. */
export interface Pools {
  readonly total: Resources;
  /**
   * Runs `work` when what it needs (as granted) is free; higher priorities first. Work that has only the disk to wait for
   * any more may `vacate`: what it needed is free then, unless what would start has a lower priority than `following`, that of what
   * will be queued when the work is over. So that no long line of unrecorded results builds up before a slow disk, that does
   * nothing while twice as many as there are jobs have vacated and are not over.
   */
  admit<T>(needs: Resources, priority: number, work: (vacate: Vacate) => Promise<T>): Promise<T>;
  /** Lets nothing start until `queueing` is over, so that of all that it queues the highest priority starts first. */
  together(queueing: () => void): void;
}

/** @param jobs the most tasks at a time, whatever they need. */
export function openPools(total: Resources, jobs: number): Pools {
  const free = new Free(total);
  let waiting!: FittingQueue;
  // p-queue makes its queue itself, of a class.
  class ThisQueue extends FittingQueue {
    constructor() {
      super(free);
      waiting = this;
    }
  }
  let vacated = 0;
  const queue = new PQueue<ThisQueue, Options>({ concurrency: jobs, queueClass: ThisQueue });
  return {
    total,
    admit: (needs, priority, work) =>
      new Promise((resolve, reject) => {
        const occupied = () =>
          new Promise<void>((leave) => {
            let place: 'held' | 'vacated' = 'held';
            const vacate = (following: number) => {
              if (place === 'vacated' || vacated >= 2 * jobs) return;
              // Before p-queue hears of it: it looks for the next entry then.
              free.give(needs);
              if (waiting.priority < following) {
                free.take(needs);
                return;
              }
              place = 'vacated';
              vacated += 1;
              leave();
            };
            const end = () => {
              if (place === 'vacated') vacated -= 1;
              else {
                free.give(needs);
                leave();
              }
            };
            work(vacate).then(resolve, reject).finally(end);
          });
        void queue.add(occupied, { priority, needs });
      }),
    together(queueing) {
      queue.pause();
      try {
        queueing();
      } finally {
        queue.start();
      }
    },
  };
}
