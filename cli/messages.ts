/** What is said of a run in words, whether line by line or under a live display. */
import { statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Event } from '../engine/events.ts';
import type { Action, Graph } from '../engine/graph.ts';
import { shellWord } from '../engine/shell_word.ts';
import { columns, count, duration, paint, size, wrap } from './text.ts';

type CommandAction = Extract<Action, { kind: 'run' }>;
type Of<T extends Event['type']> = Extract<Event, { type: T }>;

/** How many of the last lines of a failed task's log are shown. */
const TAIL = 10;
/** How many places of a stack are shown: the stage's own come first. */
const FRAMES = 5;

/** @returns a failed task: its name and the reason, its command, the last lines of its log, and where the rest is. */
export function failureText(graph: Graph, { task, failure, tail, log }: Of<'task-failed'>): string {
  // A message of several lines, such as a compiler's, keeps them.
  const message = failure.message
    .split('\n')
    .map((line) => (line.length <= columns() ? line : wrap(line, columns(), '')));
  const lines = [paint('red', message.join('\n'))];
  const action = log === null ? undefined : graph.tasks.find(({ id }) => id === task)?.action;
  if (action?.kind === 'run') lines.push(`  ${paint('dim', '$')} ${commandText(action)}`);
  const stack = (failure.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  for (const line of stack.slice(0, FRAMES)) lines.push(`  ${paint('dim', line.trim())}`);
  for (const line of tail.slice(-TAIL)) lines.push(`  ${paint('dim', '|')} ${line}`);
  const advice = adviceOn(failure.message, action?.kind === 'run' ? action : null, graph.root);
  if (advice !== null) lines.push(wrap(`= ${advice}`, columns(), '  '));
  if (log !== null && tail.length > 0) lines.push(`  the whole log: pipe log ${shellWord(task)}`);
  return lines.join('\n');
}

/** What to do about a failure of which more is known than its words say; null for any other. */
function adviceOn(message: string, command: CommandAction | null, root: string): string | null {
  if (/\b(ENOSPC|EDQUOT)\b/.test(message))
    return 'the disk is full: what is finished is kept; make room (`pipe gc`, or elsewhere on the disk) and run again';
  const words = command === null ? [] : command.shell ? command.command.split(/[\s'"<>|;&()]+/) : command.command;
  // A word may be anything, also too long for a path.
  const isFile = (word: string) =>
    /^[^/-].*[./]/.test(word) && statSync(join(root, word), { throwIfNoEntry: false })?.isFile() === true;
  const file = words.find(isFile);
  if (file === undefined) return null;
  const name =
    basename(file)
      .replace(/\..*/s, '')
      .replaceAll(/[^\w-]/g, '_') || 'script';
  return `the command runs in a folder of its own and sees no ${file}: write in: { ${name}: { file: ${file} } } and \${{ in.${name} }} in its place`;
}

/** A command as its pipeline has it, with the values of this task filled in. */
function commandText(action: CommandAction): string {
  const words = action.shell
    ? [action.command]
    : action.command.map((word) => (word.includes('{{') ? word : shellWord(word)));
  return words
    .join(' ')
    .trimEnd()
    .replaceAll('\n', '\n    ')
    .replaceAll(/\{\{(in|out):([\w.-]+)\}\}/g, '${{ $1.$2 }}');
}

/** @returns a warning, retry or damage in one line; null for events that need no words */
export function noteText(event: Event): string | null {
  switch (event.type) {
    case 'warning':
      return `${paint('yellow', 'note')}: ${event.message} (${event.task})`;
    case 'task-retried':
      return `${paint('yellow', event.task)} failed and is tried again: ${event.failure.message}`;
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
