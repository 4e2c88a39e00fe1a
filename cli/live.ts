/** A run shown live on a terminal: a few lines that are drawn again and again, and what must be read above them. */
import { stripVTControlCharacters } from 'node:util';
import type { Event } from '../engine/events.ts';
import type { Graph } from '../engine/graph.ts';
import { failureText, noteText } from './messages.ts';
import type { Report } from './report.ts';
import { Summary } from './summary.ts';
import { columns, duration, paint, print, shorten } from './text.ts';

interface Running {
  readonly since: number;
  done: number;
  total: number;
}

/** How often the lines are drawn: often enough to look alive, seldom enough to cost nothing. */
const INTERVAL_MS = 120;
/** The most running tasks that are shown. */
const SHOWN = 8;
/** Below so many columns a task's name has no room beside a progress bar. */
const NARROW = 40;

const ERASE_LINE = '\u001b[2K';
const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';

export class LiveReport implements Report {
  readonly #graph: Graph;
  readonly #running = new Map<string, Running>();
  /** Tasks that wait in a cluster's queue. */
  readonly #queued = new Set<string>();
  readonly #summary: Summary;
  readonly #started = Date.now();
  #wanted = 0;
  #cached = 0;
  #executed = 0;
  #failed = 0;
  #skipped = 0;
  /** Lines of the display that are on the screen now. */
  #drawn = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#summary = new Summary(graph);
  }

  readonly hear = (event: Event): void => {
    const line = this.#summary.hear(event);
    if (line !== null) this.#above(line);
    switch (event.type) {
      case 'run-started':
        this.#wanted = event.wanted;
        return;
      case 'task-cached':
        this.#cached += 1;
        return;
      case 'task-state':
        if (event.from === 'Queued') this.#queued.delete(event.task);
        return;
      case 'task-started':
        this.#running.set(event.task, { since: event.at, done: 0, total: 0 });
        this.#begin();
        return;
      case 'task-progress': {
        const running = this.#running.get(event.task);
        if (running !== undefined) Object.assign(running, { done: event.done, total: event.total });
        return;
      }
      case 'task-done':
        this.#running.delete(event.task);
        this.#executed += 1;
        return;
      case 'task-failed':
        this.#running.delete(event.task);
        this.#failed += 1;
        if (this.#summary.isNews(event)) this.#above(failureText(this.#graph, event));
        return;
      case 'task-skipped':
        this.#running.delete(event.task);
        this.#skipped += 1;
        return;
      case 'run-finished':
        this.close();
        print(this.#summary.text(event));
        return;
      case 'task-waiting':
        this.#begin();
        return;
      default: {
        if (event.type === 'task-retried') this.#running.delete(event.task);
        if (event.type === 'task-queued') {
          this.#queued.add(event.task);
          this.#begin();
        }
        const note = noteText(event);
        if (note !== null) this.#above(note);
      }
    }
  };

  /** Takes the display off the screen. */
  close(): void {
    if (this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
      process.stdout.write(this.#erase() + SHOW_CURSOR);
      process.off('exit', showCursor);
    }
  }

  #begin(): void {
    if (this.#timer !== null) return;
    process.stdout.write(HIDE_CURSOR);
    process.on('exit', showCursor);
    this.#timer = setInterval(() => this.#draw(), INTERVAL_MS);
    this.#draw();
  }

  #above(text: string): void {
    process.stdout.write(`${this.#erase()}${text}\n`);
    if (this.#timer !== null) this.#draw();
  }

  #draw(): void {
    const lines = this.#lines();
    process.stdout.write(this.#erase() + lines.map((line) => `${line}\n`).join(''));
    this.#drawn = lines.length;
  }

  /** Goes back to the first line of the display, with everything below it cleared. */
  #erase(): string {
    const erase = `\u001b[1A${ERASE_LINE}`.repeat(this.#drawn);
    this.#drawn = 0;
    return erase;
  }

  #lines(): readonly string[] {
    // One column stays free: a terminal that wraps at its last column would break the redrawing.
    const width = columns() - 1;
    const ended = this.#cached + this.#executed + this.#failed + this.#skipped;
    const elapsed = duration((Date.now() - this.#started) / 1000);
    const failed = this.#failed === 0 ? '' : `  ${this.#failed} failed`;
    const queued = this.#queued.size === 0 ? '' : `  ${this.#queued.size} in the queue`;
    const counts = `${ended}/${this.#wanted}  ${this.#running.size} running${queued}${failed}  ${elapsed}`;
    const { name: pipeline } = this.#graph;
    const room = Math.min(24, width - pipeline.length - counts.length - 4);
    const lines = [
      room < 8
        ? shorten(`${pipeline}  ${counts}`, width)
        : `${pipeline}  ${progressBar(ended, this.#wanted, room)}  ${counts}`,
    ];
    const shown = [...this.#running].slice(0, SHOWN);
    for (const [task, { since, done, total }] of shown) {
      const progress =
        total > 0 && width >= NARROW
          ? `${progressBar(done, total, 10)} ${String(Math.floor((100 * done) / total)).padStart(3)}%`
          : '';
      const right = `${progress}  ${duration((Date.now() - since) / 1000).padStart(7)}`;
      const taken = stripVTControlCharacters(right).length;
      const name = shorten(task, width - taken - 4);
      lines.push(`  ${paint('cyan', name)}${' '.repeat(width - 2 - name.length - taken)}${right}`);
    }
    if (this.#running.size > shown.length) lines.push(`  and ${this.#running.size - shown.length} more`);
    return lines;
  }
}

function progressBar(done: number, total: number, width: number): string {
  const filled = total === 0 ? 0 : Math.min(width, Math.floor((width * done) / total));
  return '━'.repeat(filled) + paint('dim', '─'.repeat(width - filled));
}

function showCursor(): void {
  process.stdout.write(SHOW_CURSOR);
}
