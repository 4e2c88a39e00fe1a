/** A run told line by line: one line a task, for logs and CI. */
import type { Event } from '../engine/events.ts';
import type { Graph } from '../engine/graph.ts';
import { failureText, noteText } from './messages.ts';
import type { Report } from './report.ts';
import { Summary } from './summary.ts';
import { duration, print } from './text.ts';

export class LineReport implements Report {
  readonly #graph: Graph;
  readonly #summary: Summary;
  #wanted = 0;
  #ended = 0;

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#summary = new Summary(graph);
  }

  readonly hear = (event: Event): void => {
    const line = this.#summary.hear(event);
    if (line !== null) print(line);
    switch (event.type) {
      case 'run-started':
        this.#wanted = event.wanted;
        return;
      case 'task-cached':
        this.#ended += 1;
        return;
      case 'task-done':
        this.#line(`${event.task} ${this.#doneText(event)}`);
        return;
      case 'task-failed':
        if (this.#summary.isNews(event)) this.#line(failureText(this.#graph, event));
        else this.#ended += 1;
        return;
      case 'run-finished':
        print(this.#summary.text(event));
        return;
      default: {
        const note = noteText(event);
        if (note !== null) print(note);
      }
    }
  };

  close(): void {
    // Every line is written as it is said.
  }

  #doneText(event: Extract<Event, { type: 'task-done' }>): string {
    if (event.origin === 'executed') return `done in ${duration(event.seconds)}`;
    return this.#summary.isByOthers(event) ? 'done by the other run' : 'done by an equal task';
  }

  #line(text: string): void {
    this.#ended += 1;
    const width = String(this.#wanted).length;
    print(`[${String(this.#ended).padStart(width)}/${this.#wanted}] ${text}`);
  }
}
