/**
 * The journal of a run: what happened and when, one JSON object a line in cache/runs/<id>.events. It is written while the run
 * goes on, so that another process can follow it, and stays for a timeline. A run that executes nothing has none.
 */
import { closeSync, mkdirSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errorCode } from './errors.ts';
import type { Event } from './events.ts';
import { readRun, runsFolder } from './runs.ts';

type Of<T extends Event['type']> = Extract<Event, { readonly type: T }>;

/** The events that are kept, without what the record of a task says anyway. */
export type JournalEvent =
  | Of<
      | 'run-started'
      | 'task-cached'
      | 'task-progress'
      | 'task-waiting'
      | 'task-retried'
      | 'task-skipped'
      | 'published'
      | 'warning'
      | 'run-finished'
    >
  | Omit<Of<'task-started'>, 'reason'>
  | Omit<Of<'task-done'>, 'outputs'>
  | Omit<Of<'task-failed'>, 'tail'>
  /** How many tasks were up to date when the first one was executed. */
  | { readonly type: 'cached'; readonly at: number; readonly tasks: number };

/** How often a task's progress is kept, and how long a line may wait to be written. */
const progressMs = 1000;
const flushMs = 100;

export function journalPath(cache: string, run: string): string {
  return join(runsFolder(cache), `${run}.events`);
}

export interface Journal {
  hear(event: Event): void;
  /** Writes what was heard. Done before the run's file says that it has ended: whoever finds it ended then finds all its tasks here. */
  flush(): void;
  close(): void;
}

/** A journal that begins with the first task that is executed. A disk that refuses it costs the journal, not the run. */
export function openJournal(cache: string, run: string): Journal {
  let file: number | null = null;
  let refused = false;
  let start: Event | null = null;
  let cached = 0;
  let lines: string[] = [];
  let timer: NodeJS.Timeout | null = null;
  const told = new Map<string, number>();

  function flush(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (lines.length === 0 || refused) return;
    try {
      if (file === null) {
        mkdirSync(runsFolder(cache), { recursive: true });
        file = openSync(journalPath(cache, run), 'a');
      }
      writeSync(file, lines.join(''));
    } catch {
      refused = true;
    }
    lines = [];
  }

  function keep(event: JournalEvent): void {
    lines.push(`${JSON.stringify(event)}\n`);
    timer ??= setTimeout(flush, flushMs).unref();
  }

  return {
    hear(event) {
      const isBegun = start === null;
      switch (event.type) {
        case 'run-started':
          start = event;
          return;
        case 'task-cached':
          if (isBegun) keep(event);
          else cached += 1;
          return;
        case 'task-started': {
          if (start !== null) {
            keep(start as JournalEvent);
            keep({ type: 'cached', at: event.at, tasks: cached });
            start = null;
          }
          const { reason: _, ...kept } = event;
          keep(kept);
          return;
        }
        case 'task-progress':
          if (event.at - (told.get(event.task) ?? 0) < progressMs) return;
          told.set(event.task, event.at);
          keep(event);
          return;
        case 'task-done': {
          const { outputs: _, ...kept } = event;
          if (isBegun) keep(kept);
          return;
        }
        case 'task-failed': {
          const { tail: _, ...kept } = event;
          if (isBegun) keep(kept);
          return;
        }
        case 'task-waiting':
        case 'task-retried':
        case 'task-skipped':
        case 'published':
        case 'warning':
        case 'run-finished':
          if (isBegun) keep(event);
      }
    },
    flush,
    close() {
      flush();
      if (file !== null) closeSync(file);
    },
  };
}

/** The journal of a run so far; empty when it has none. A last line that is still being written is left out. */
export function readJournal(cache: string, run: string): JournalEvent[] {
  let text: string;
  try {
    text = readFileSync(journalPath(cache, run), 'utf8');
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return [];
    throw thrown;
  }
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1)
    .flatMap(eventsIn);
}

/** How often a journal that is followed is looked at. */
const lookMs = 100;

/**
 * The journal of a run from its beginning, as it grows. Ends with the run: when it says so, or when its process is gone.
 * @throws AbortError when the signal aborts.
 */
export async function* followJournal(cache: string, run: string, signal: AbortSignal): AsyncGenerator<JournalEvent> {
  const path = journalPath(cache, run);
  const piece = Buffer.alloc(1 << 16);
  let rest = '';
  let at = 0;
  for (;;) {
    // Looked at before the file: what the run wrote before it ended is read in any case.
    const isOver = readRun(cache, run)?.status !== 'running';
    for (;;) {
      const length = readAt(path, piece, at);
      if (length === 0) break;
      at += length;
      const lines = (rest + piece.toString('latin1', 0, length)).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        for (const event of eventsIn(Buffer.from(line, 'latin1').toString())) {
          yield event;
          if (event.type === 'run-finished') return;
        }
      }
    }
    if (isOver) return;
    await delay(lookMs, undefined, { signal });
  }
}

function readAt(path: string, piece: Buffer, at: number): number {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return 0;
    throw thrown;
  }
  try {
    return readSync(file, piece, 0, piece.length, at);
  } finally {
    closeSync(file);
  }
}

/** A line's event; none for a line that a full disk cut. */
function eventsIn(line: string): JournalEvent[] {
  try {
    return [JSON.parse(line) as JournalEvent];
  } catch {
    return [];
  }
}
