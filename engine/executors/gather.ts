/** Things that come one by one, handled together. */

/** How long after the last one more are waited for. */
const quietMs = 50;

export class Gather<T> {
  readonly #handle: (items: readonly T[]) => void;
  #items: T[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(handle: (items: readonly T[]) => void) {
    this.#handle = handle;
  }

  add(item: T): void {
    this.#items.push(item);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const items = this.#items;
      this.#items = [];
      this.#handle(items);
    }, quietMs);
  }
}
