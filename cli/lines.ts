/** A run told line by line: one line a task, for logs and CI. */
import type { Event } from '../engine/events.ts';
import type { Graph } from '../engine/graph.ts';
import { failureText, noteText, publishedName, summaryText } from './messages.ts';
import type { Report } from './report.ts';
import { duration, print } from './text.ts';

export class LineReport implements Report {
  readonly #graph: Graph;
  readonly #published: string[] = [];
  #run = '';
  #wanted = 0;
  #ended = 0;

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  readonly hear = (event: Event): void => {
    switch (event.type) {
      case 'run-started':
        this.#run = event.run;
        this.#wanted = event.wanted;
        return;
      case 'task-cached':
        this.#ended += 1;
        return;
      case 'task-done':
        this.#line(
          `${event.task} ${event.origin === 'shared' ? 'done by an equal task' : `done in ${duration(event.seconds)}`}`,
        );
        return;
      case 'task-failed':
        this.#line(failureText(event));
        return;
      case 'task-skipped':
        this.#line(`${event.task} not run: ${event.because}`);
        return;
      case 'published':
        this.#published.push(publishedName(this.#graph, event.path));
        return;
      case 'run-finished':
        print(summaryText(this.#graph, event, this.#published));
        return;
      default: {
        const note = noteText(event, this.#run);
        if (note !== null) print(note);
      }
    }
  };

  close(): void {
    // Every line is written as it is said.
  }

  #line(text: string): void {
    this.#ended += 1;
    const width = String(this.#wanted).length;
    print(`[${String(this.#ended).padStart(width)}/${this.#wanted}] ${text}`);
  }
}
