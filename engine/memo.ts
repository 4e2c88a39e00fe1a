/** Small tables kept between runs to save time: disposable, checked as a whole when they are read. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkedJson, parseChecked } from './checked.ts';
import { writeWhole } from './whole.ts';

export interface Memo {
  /** What was last written under this name, or undefined when there is nothing readable. Its shape is the reader's to check. */
  read(name: string): unknown;
  /** Keeps an object under a name such as `code` or `graphs/<digest>`. A disk that refuses costs time later, nothing else. */
  write(name: string, value: object): void;
}

/** The memo in a folder: one JSON file a name, replaced whole, so a reader never sees half of one. */
export function openMemo(folder: string): Memo {
  const pathOf = (name: string) => join(folder, `${name}.json`);
  return {
    read(name) {
      try {
        return parseChecked(readFileSync(pathOf(name)));
      } catch {
        return undefined;
      }
    },
    write(name, value) {
      try {
        writeWhole(pathOf(name), checkedJson(value));
      } catch {
        // A memo that cannot be kept is computed again.
      }
    },
  };
}
