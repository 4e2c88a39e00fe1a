/** The states of a task in a run, and the one function through which it changes them. */

/**
 * Unknown: in the graph, nobody asked for it. Wanted: asked for, waits for what it depends on. Ready: its key is known
 * and everything that it depends on is done. Queued: stale, waits for resources. Running: in a worker.
 */
export type State = 'Unknown' | 'Wanted' | 'Ready' | 'Queued' | 'Running' | 'Done' | 'Failed' | 'Skipped';

/** Where each state may lead. Running leads back to Queued when a task is tried again. */
const next: Readonly<Record<State, readonly State[]>> = {
  Unknown: ['Wanted'],
  Wanted: ['Ready', 'Failed', 'Skipped'],
  Ready: ['Queued', 'Done', 'Failed', 'Skipped'],
  Queued: ['Running', 'Done', 'Failed', 'Skipped'],
  Running: ['Done', 'Failed', 'Skipped', 'Queued'],
  Done: [],
  Failed: [],
  Skipped: [],
};

/** Whether a task in this state will change no more in this run. */
export function isFinal(state: State): boolean {
  return next[state].length === 0;
}

/** The states of all tasks of one run. */
export class States {
  readonly #states = new Map<string, State>();
  readonly #onChange: (task: string, from: State, to: State) => void;

  constructor(onChange: (task: string, from: State, to: State) => void) {
    this.#onChange = onChange;
  }

  of(task: string): State {
    return this.#states.get(task) ?? 'Unknown';
  }

  /** Moves a task to another state. @throws Error when the machine has no such transition: a defect of the engine. */
  move(task: string, to: State): void {
    const from = this.of(task);
    if (!next[from].includes(to)) throw new Error(`task ${task} cannot go from ${from} to ${to}`);
    this.#states.set(task, to);
    this.#onChange(task, from, to);
  }
}
