/** Small tables kept between runs to save time: disposable, and validated by whoever reads them. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface Memo {
  /** What was last written under this name, or undefined when there is nothing readable. Its shape is the reader's to check. */
  read(name: string): unknown;
  /** Keeps a JSON value under a name such as `code` or `graphs/<digest>`. A disk that refuses costs time later, nothing else. */
  write(name: string, value: unknown): void;
}

/** The memo in a folder: one JSON file a name, replaced whole, so a reader never sees half of one. */
export function openMemo(folder: string): Memo {
  const pathOf = (name: string) => join(folder, `${name}.json`);
  return {
    read(name) {
      try {
        return JSON.parse(readFileSync(pathOf(name), 'utf8'));
      } catch {
        return undefined;
      }
    },
    write(name, value) {
      const path = pathOf(name);
      const temporary = `${path}.${process.pid}.tmp`;
      try {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(temporary, JSON.stringify(value));
        renameSync(temporary, path);
      } catch {
        // A memo that cannot be kept is computed again.
      }
    },
  };
}
