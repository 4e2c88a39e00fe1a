/** Where two artifacts that should be equal first differ, in words. */
import { closeSync, openSync, readSync } from 'node:fs';
import type { FolderEntry } from './digest.ts';

/** The files of two folder artifacts, or the one file of two others. */
export interface Content {
  readonly entries: readonly FolderEntry[];
  /** The path of an entry's file. */
  at(entry: FolderEntry): string;
}

/** The first place where two artifacts differ; names the file when there are several. Null when they are equal. */
export function firstDifference(one: Content, other: Content): string | null {
  const others = new Map(other.entries.map((entry) => [entry.path, entry]));
  for (const entry of one.entries) {
    const twin = others.get(entry.path);
    if (twin === undefined) return `${entry.path} is not there any more`;
    others.delete(entry.path);
    if (entry.digest === twin.digest) continue;
    const where = fileDifference(one.at(entry), other.at(twin));
    return entry.path === '' ? where : `${entry.path}: ${where}`;
  }
  const [added] = others.keys();
  return added === undefined ? null : `${added} is new`;
}

const chunkBytes = 1 << 20;
const shownCharacters = 60;

function fileDifference(one: string, other: string): string {
  const files = [openSync(one, 'r'), openSync(other, 'r')] as const;
  try {
    const chunks = [Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes)] as const;
    let lines = 0;
    for (let from = 0; ; from += chunkBytes) {
      const [a, b] = chunks.map((chunk, i) => chunk.subarray(0, readSync(files[i]!, chunk, 0, chunkBytes, from))) as [
        Buffer,
        Buffer,
      ];
      const at = a.findIndex((byte, i) => byte !== b[i]);
      const place = at === -1 ? (b.length > a.length ? a.length : -1) : at;
      if (place === -1 && a.length === 0) return 'no byte of it';
      if (place === -1) {
        lines += count(a, a.length);
        continue;
      }
      const isText = !a.includes(0) && !b.includes(0);
      if (!isText) return `byte ${from + place}: ${hex(a[place])} -> ${hex(b[place])}`;
      return `line ${lines + count(a, place) + 1}: ${lineAt(a, place)} -> ${lineAt(b, place)}`;
    }
  } finally {
    for (const file of files) closeSync(file);
  }
}

function count(bytes: Buffer, upTo: number): number {
  let found = 0;
  for (let at = bytes.indexOf(10); at !== -1 && at < upTo; at = bytes.indexOf(10, at + 1)) found += 1;
  return found;
}

const hex = (byte: number | undefined) => (byte === undefined ? 'the end' : `0x${byte.toString(16).padStart(2, '0')}`);

/** The line around a byte, cut to what can be read at a glance. */
function lineAt(bytes: Buffer, at: number): string {
  const begin = at === 0 ? 0 : bytes.lastIndexOf(10, at - 1) + 1;
  const from = Math.max(begin, at - shownCharacters / 2);
  const newline = bytes.indexOf(10, at);
  const end = Math.min(newline === -1 ? bytes.length : newline, from + shownCharacters);
  return from >= bytes.length ? 'the end' : `\`${bytes.toString('utf8', from, end)}\``;
}

/** The content of an artifact that lies in a store. */
export function storedContent(
  store: { blobPath(digest: string): string; entriesOf(folder: string): FolderEntry[] },
  artifact: { readonly kind: 'file' | 'folder'; readonly digest: string; readonly bytes: number },
): Content {
  const entries =
    artifact.kind === 'folder'
      ? store.entriesOf(artifact.digest)
      : [{ path: '', digest: artifact.digest, bytes: artifact.bytes }];
  return { entries, at: ({ digest }) => store.blobPath(digest!) };
}
