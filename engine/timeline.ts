/** When each task of a run was executed, from the run's journal; and the same as a Chrome trace. */
import type { JournalEvent } from './journal.ts';

/** One attempt at a task. Times are in milliseconds since 1970, UTC. */
export interface Span {
  readonly task: string;
  readonly from: number;
  readonly to: number;
  readonly outcome: 'done' | 'failed' | 'retried' | 'ended' | 'running';
  /** A row in which no two attempts overlap, from 0: as many as ran at a time. */
  readonly lane: number;
}

/** @param now the end of what still runs; null when the run is over, which may not have been able to say so. */
export function timelineOf(journal: readonly JournalEvent[], now: number | null): Span[] {
  const open = new Map<string, { from: number; lane: number }>();
  const spans: Span[] = [];
  const end = (task: string, to: number, outcome: Span['outcome']): void => {
    const begun = open.get(task);
    if (begun === undefined) return;
    open.delete(task);
    spans.push({ task, ...begun, to, outcome });
  };
  for (const event of journal) {
    switch (event.type) {
      case 'task-started': {
        const taken = new Set([...open.values()].map(({ lane }) => lane));
        let lane = 0;
        while (taken.has(lane)) lane++;
        open.set(event.task, { from: event.at, lane });
        break;
      }
      case 'task-done':
        end(event.task, event.at, 'done');
        break;
      case 'task-failed':
        end(event.task, event.at, 'failed');
        break;
      case 'task-retried':
        end(event.task, event.at, 'retried');
        break;
      case 'task-skipped':
        end(event.task, event.at, 'ended');
        break;
      case 'run-finished':
        for (const task of [...open.keys()]) end(task, event.at, 'ended');
    }
  }
  const last = journal.at(-1)?.at ?? 0;
  for (const task of [...open.keys()]) end(task, now ?? last, now === null ? 'ended' : 'running');
  return spans.sort((a, b) => a.from - b.from || a.lane - b.lane);
}

interface TraceEvent {
  readonly name: string;
  readonly ph: 'X' | 'M';
  readonly pid: number;
  readonly tid: number;
  /** Microseconds. */
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly args: Readonly<Record<string, unknown>>;
}

/**
 * A timeline in the Trace Event Format, JSON object form, for chrome://tracing, Perfetto and others: a complete event (`X`) for
 * each attempt, a thread for each lane.
 * @param detail what is shown of a task besides its times.
 */
export function chromeTrace(
  run: string,
  spans: readonly Span[],
  detail: (task: string) => Readonly<Record<string, unknown>>,
): { readonly displayTimeUnit: 'ms'; readonly traceEvents: readonly TraceEvent[] } {
  const lanes = [...new Set(spans.map(({ lane }) => lane))].sort((a, b) => a - b);
  const names: TraceEvent[] = [
    { name: 'process_name', ph: 'M', pid: 1, tid: 0, args: { name: run } },
    ...lanes.map(
      (lane): TraceEvent => ({
        name: 'thread_name',
        ph: 'M',
        pid: 1,
        tid: lane + 1,
        args: { name: `tasks ${lane + 1}` },
      }),
    ),
  ];
  const attempts = spans.map(
    ({ task, from, to, outcome, lane }): TraceEvent => ({
      name: task,
      cat: task.replace(/\[.*/s, ''),
      ph: 'X',
      pid: 1,
      tid: lane + 1,
      ts: from * 1000,
      dur: (to - from) * 1000,
      args: { outcome, ...detail(task) },
    }),
  );
  return { displayTimeUnit: 'ms', traceEvents: [...names, ...attempts] };
}
