/** `pipe timeline`: when each task of a run was executed. */
import { writeFileSync } from 'node:fs';
import { UsageError } from '../engine/errors.ts';
import { readJournal } from '../engine/journal.ts';
import { listRuns, outcomeOf, type RunRecord } from '../engine/runs.ts';
import type { Store } from '../engine/store.ts';
import { chromeTrace, type Span, timelineOf } from '../engine/timeline.ts';
import { withWorkspace } from './request.ts';
import { findRun } from './run_names.ts';
import { columns, count, duration, paint, print, shorten } from './text.ts';

export type TimelineFormat = 'text' | 'json' | 'chrome';

export interface TimelineOptions {
  readonly format: TimelineFormat;
  readonly out?: string;
}

/** @param name a run; the newest that executed something if not given. @throws UsageError when it executed nothing. */
export function timeline(name: string | undefined, { format, out }: TimelineOptions): Promise<number> {
  return withWorkspace(async ({ store }) => {
    const run = name === undefined ? newestExecuted(store) : findRun(store.cache, name);
    const spans = timelineOf(readJournal(store.cache, run.id), run.status === 'running' ? Date.now() : null);
    if (spans.length === 0) throw new UsageError(`the run ${run.id} executed nothing`);
    const text = textOf[format](store, run, spans);
    if (out === undefined) print(text);
    else writeFileSync(out, `${text}\n`);
    return 0;
  });
}

const textOf: Readonly<Record<TimelineFormat, (store: Store, run: RunRecord, spans: readonly Span[]) => string>> = {
  text: (_, run, spans) => asText(run, spans),
  json: (_, { id }, spans) => JSON.stringify({ run: id, spans }, null, 2),
  chrome: asTrace,
};

function newestExecuted({ cache }: Store): RunRecord {
  for (const run of listRuns(cache)) if (readJournal(cache, run.id).length > 0) return run;
  throw new UsageError('no run has executed anything yet\n  begin with `pipe run`');
}

function asTrace(store: Store, run: RunRecord, spans: readonly Span[]): string {
  const detail = (task: string) => {
    const key = outcomeOf(run, task)?.key ?? null;
    const record = key === null ? null : store.readRecord(key);
    return record === null ? {} : { key, params: record.manifest.params, measurements: record.measurements };
  };
  return JSON.stringify(chromeTrace(run.id, spans, detail));
}

/** The most attempts that are drawn. */
const SHOWN = 40;

function asText({ id }: RunRecord, spans: readonly Span[]): string {
  const begun = Math.min(...spans.map(({ from }) => from));
  const ended = Math.max(...spans.map(({ to }) => to));
  const length = (span: Span) => span.to - span.from;
  const longest = new Set([...spans].sort((a, b) => length(b) - length(a)).slice(0, SHOWN));
  const shown = spans.filter((span) => longest.has(span));
  const nameWidth = Math.min(36, Math.max(...shown.map(({ task }) => task.length)), Math.floor(columns() * 0.45));
  const said = (span: Span) => (span.outcome === 'done' ? '' : `  ${span.outcome}`);
  // Two spaces between, the longest duration, what is said of one that is not done, and a column that stays free.
  const right = Math.max(...shown.map((span) => duration(length(span) / 1000).length + said(span).length)) + 3;
  const barWidth = Math.max(8, Math.min(72, columns() - nameWidth - right));
  const column = (at: number) => Math.round(((at - begun) / Math.max(1, ended - begun)) * (barWidth - 1));
  const lines = shown.map((span) => {
    const start = column(span.from);
    const bar = '━'.repeat(Math.max(1, column(span.to) - start + 1));
    const colour = span.outcome === 'done' ? 'green' : span.outcome === 'failed' ? 'red' : 'yellow';
    const track = `${' '.repeat(start)}${paint(colour, bar)}${' '.repeat(Math.max(0, barWidth - start - bar.length))}`;
    return `${shorten(span.task, nameWidth).padEnd(nameWidth)} ${track} ${duration(length(span) / 1000)}${said(span)}`;
  });
  const rest = spans.length - shown.length;
  const lanes = Math.max(...spans.map(({ lane }) => lane)) + 1;
  return [
    `${id}: ${count(spans.length, 'execution')} in ${duration((ended - begun) / 1000)}, at most ${lanes} at a time`,
    ...lines,
    ...(rest === 0 ? [] : [`and ${rest} shorter ones; --format chrome has all of them`]),
  ].join('\n');
}
