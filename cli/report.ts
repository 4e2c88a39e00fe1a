/** What shows a run: line by line, live on a terminal, or as JSON. */
import type { Emit } from '../engine/events.ts';

/** Hears every event of a run, and is closed when the run is over, however it ends. */
export interface Report {
  readonly hear: Emit;
  close(): void;
}
