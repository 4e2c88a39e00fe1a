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
  readonly needs: Resources;
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

/** A queue for p-queue that shows only what fits into what is free: to p-queue, it is empty while nothing does. */
class FittingQueue implements Queue<Run, Options> {
  readonly #waiting: Waiting[] = [];
  readonly #free: Free;

  constructor(free: Free) {
    this.#free = free;
  }

  get size(): number {
    return this.#next() === -1 ? 0 : this.#waiting.length;
  }

  enqueue(run: Run, options?: Partial<Options>): void {
    const entry = { run, priority: options?.priority ?? 0, needs: options?.needs ?? { cpu: 0, gpu: 0, memory: 0 } };
    // Binary search for the end of the entries that come no later: equal priorities stay in order.
    let low = 0;
    let high = this.#waiting.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#waiting[middle]!.priority >= entry.priority) low = middle + 1;
      else high = middle;
    }
    this.#waiting.splice(low, 0, entry);
  }

  /** Takes the entry out, and what it needs from the pools. */
  dequeue(): Run | undefined {
    const index = this.#next();
    if (index === -1) return undefined;
    const [entry] = this.#waiting.splice(index, 1);
    this.#free.take(entry!.needs);
    return entry!.run;
  }

  filter(options: Readonly<Partial<Options>>): Run[] {
    return this.#waiting.filter(({ priority }) => priority === options.priority).map(({ run }) => run);
  }

  setPriority(): void {
    throw new Error('priorities are fixed when a task is queued');
  }

  /** The first entry, in order of priority, that fits; -1 when none does. */
  #next(): number {
    return this.#waiting.findIndex(({ needs }) => this.#free.fits(needs));
  }
}

/** Admits work to one set of pools. */
export interface Pools {
  readonly total: Resources;
  /**
   * Runs `work` when what it needs (as granted) is free; higher priorities first. Work that has only the disk to wait for
   * any more may `vacate`: what it needed is free then. So that no long line of unrecorded results builds up before a slow
   * disk, that does nothing while twice as many as there are jobs have vacated and are not over.
   */
  admit<T>(needs: Resources, priority: number, work: (vacate: () => void) => Promise<T>): Promise<T>;
  /** Lets nothing start until `queueing` is over, so that of all that it queues the highest priority starts first. */
  together(queueing: () => void): void;
}

/** @param jobs the most tasks at a time, whatever they need. */
export function openPools(total: Resources, jobs: number): Pools {
  const free = new Free(total);
  class ThisQueue extends FittingQueue {
    constructor() {
      super(free);
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
            const give = () => {
              // Before p-queue hears of it: it looks for the next entry then.
              free.give(needs);
              leave();
            };
            const vacate = () => {
              if (place === 'vacated' || vacated >= 2 * jobs) return;
              place = 'vacated';
              vacated += 1;
              give();
            };
            const end = () => {
              if (place === 'vacated') vacated -= 1;
              else give();
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
