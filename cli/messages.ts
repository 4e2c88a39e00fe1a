/** What is said of a run in words, whether line by line or under a live display. */
import { join, relative } from 'node:path';
import type { Event, RunCounts } from '../engine/events.ts';
import type { Graph } from '../engine/graph.ts';
import { shellWord } from '../engine/shell_word.ts';
import { columns, count, duration, paint, size, wrap } from './text.ts';

type Of<T extends Event['type']> = Extract<Event, { type: T }>;

/** How many of the last lines of a failed task's log are shown. */
const TAIL = 10;
/** How many places of a stack are shown: the stage's own come first. */
const FRAMES = 5;

/** @returns a failed task: its name and the reason, the last lines of its log, and where the rest is. */
export function failureText({ task, failure, tail, log }: Of<'task-failed'>): string {
  // A message of several lines, such as a compiler's, keeps them.
  const message = failure.message
    .split('\n')
    .map((line) => (line.length <= columns() ? line : wrap(line, columns(), '')));
  const lines = [paint('red', message.join('\n'))];
  const stack = (failure.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  for (const line of stack.slice(0, FRAMES)) lines.push(`  ${paint('dim', line.trim())}`);
  for (const line of tail.slice(-TAIL)) lines.push(`  ${paint('dim', '|')} ${line}`);
  if (log !== null && tail.length > 0) lines.push(`  the whole log: pipe log ${shellWord(task)}`);
  return lines.join('\n');
}

/**
 * @param run the id of the run that is shown: a task that waits for an equal one of its own run needs no words
 * @returns a warning, retry or damage in one line; null for events that need no words
 */
export function noteText(event: Event, run: string): string | null {
  switch (event.type) {
    case 'warning':
      return `${paint('yellow', 'note')}: ${event.message} (${event.task})`;
    case 'task-retried':
      return `${paint('yellow', event.task)} failed and is tried again: ${event.failure.message}`;
    case 'task-waiting':
      return event.run === run
        ? null
        : `${event.task} waits for run ${event.run} (process ${event.pid}), which is at it`;
    case 'diverged':
      return `${paint('yellow', event.task)} gave another result than in run ${event.earlier}, with the same key: ${event.artifacts.join(', ')}`;
    case 'task-queued':
      return event.adopted
        ? `${event.task} goes on as job ${event.job.id} of ${event.job.cluster}, which an earlier run submitted`
        : null;
    case 'quarantined':
      return `${paint('yellow', 'damaged')}: ${event.path}: ${event.problem}`;
    case 'remote-resting':
      return `${paint('yellow', 'note')}: the shared cache ${event.remote} is out of order and left alone for ${duration(event.seconds)}: ${event.problem}`;
    case 'remote-distrusted':
      return `${paint('yellow', 'note')}: the shared cache ${event.remote} is not believed: the record of ${event.key.slice(0, 12)} ${event.problem}`;
    case 'remote-tally':
      return tallyText(event);
    default:
      return null;
  }
}

/** @returns what came from a shared cache and went there. */
function tallyText({ remote, taken, takenBytes, sent, sentBytes, unsent }: Of<'remote-tally'>): string {
  const parts: string[] = [];
  if (taken > 0) parts.push(`${count(taken, 'result')} taken (${size(takenBytes)})`);
  if (sent > 0) parts.push(`${count(sent, 'result')} sent (${size(sentBytes)})`);
  if (unsent > 0) parts.push(`${count(unsent, 'result')} not sent: \`pipe cache push\` tries again`);
  return `shared cache ${remote}: ${parts.join(', ')}`;
}

/** @returns the last words of a run; one line if nothing was executed. */
export function summaryText(
  graph: Graph,
  { status, counts, seconds }: Of<'run-finished'>,
  published: readonly string[],
): string {
  if (status === 'done' && counts.executed + counts.shared === 0) {
    return `${graph.name}: up to date (${count(counts.wanted, 'task')}, ${duration(seconds)})`;
  }
  const style = status === 'done' ? 'green' : 'red';
  const lines = [`${graph.name}: ${paint(style, STATUS[status])} in ${duration(seconds)}: ${countsText(counts)}`];
  if (published.length > 0) lines.push(`  results/${graph.name}/: ${listed(published)}`);
  return lines.join('\n');
}

const STATUS = { done: 'done', failed: 'failed', interrupted: 'interrupted' } as const;

function countsText({ executed, shared, cached, failed, skipped }: RunCounts): string {
  const parts: [number, string][] = [
    [executed, 'run'],
    [shared, 'shared with an equal task'],
    [cached, 'up to date'],
    [failed, 'failed'],
    [skipped, 'not run'],
  ];
  return parts
    .filter(([number]) => number > 0)
    .map(([number, word]) => `${number} ${word}`)
    .join(', ');
}

/** @returns a published path as it is called inside results/NAME/. */
export function publishedName(graph: Graph, path: string): string {
  return relative(join(graph.root, 'results', graph.name), path);
}

/** The first paths of a list, with how many more there are. */
function listed(paths: readonly string[]): string {
  const shown = paths.slice(0, 4);
  return `${shown.join(', ')}${paths.length > shown.length ? ` and ${paths.length - shown.length} more` : ''}`;
}
