/** The live display: what a terminal of 80 columns shows while a run goes on, and what is left when it is over. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { LiveReport } from '../cli/live.ts';
import type { Event, EventBody } from '../engine/events.ts';
import type { Graph, Task } from '../engine/graph.ts';

/** A screen that understands what the display writes: lines, cursor up, erase line, and colours, which it leaves out. */
class Screen {
  lines = [''];
  #row = 0;
  longest = 0;

  write(text: string): void {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal is driven by control characters
    for (const [part, code] of text.matchAll(/\u001b\[(\??[\d;]*[A-Za-z])|\n|[^\n\u001b]+/g)) {
      if (part === '\n') {
        this.#row += 1;
        this.lines[this.#row] ??= '';
      } else if (code === undefined) {
        this.lines[this.#row] += part;
        this.longest = Math.max(this.longest, this.lines[this.#row]!.length);
      } else if (code === '1A') this.#row -= 1;
      else if (code === '2K') this.lines[this.#row] = '';
      else if (!/^(\d+m|\?25[hl])$/.test(code)) throw new Error(`unknown control ${code}`);
    }
  }

  get shown(): string[] {
    return this.lines.filter((line) => line !== '');
  }
}

let screen: Screen;
const before = { isTTY: process.stdout.isTTY, columns: process.stdout.columns };

beforeEach(() => {
  screen = new Screen();
  vi.useFakeTimers();
  vi.stubEnv('NO_COLOR', '');
  Object.assign(process.stdout, { isTTY: true, columns: 80 });
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    screen.write(String(text));
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  vi.useRealTimers();
  Object.assign(process.stdout, before);
});

const long = `evaluate[targets=${'attention+mlp+'.repeat(8)}lm_head,precision=nf4,seed=42]`;
const graph = { name: 'layer-sensitivity', root: '/p', tasks: [] as readonly Task[] } as Graph;

function told(): { report: LiveReport; say: (body: EventBody) => void } {
  const report = new LiveReport(graph);
  return { report, say: (body) => report.hear({ ...body, at: Date.now() } as Event) };
}

const started = (task: string): EventBody => ({
  type: 'task-started',
  task,
  key: 'k',
  attempt: 1,
  reason: { kind: 'new' },
  log: 'l',
});
const done = (task: string): EventBody => ({
  type: 'task-done',
  task,
  key: 'k',
  seconds: 1,
  origin: 'executed',
  outputs: {},
});
const counts = { wanted: 4, executed: 0, cached: 0, shared: 0, failed: 0, skipped: 0 };

it('shows counts and what runs, in lines that fit, and leaves only the summary', () => {
  const { say } = told();
  say({ type: 'run-started', run: 'r', pipeline: 'p', profile: null, wanted: 4 });
  say({ type: 'task-cached', task: 'data', key: 'k' });
  for (const task of ['train[seed=1]', long]) say(started(task));
  say({ type: 'task-progress', task: 'train[seed=1]', done: 30, total: 40 });
  vi.advanceTimersByTime(2040);
  expect(screen.shown).toHaveLength(3);
  expect(screen.shown[0]).toMatch(/^layer-sensitivity {2}━{6}─{18} {2}1\/4 {2}2 running {2}2\.0 s$/);
  expect(screen.shown[1]).toMatch(/^ {2}train\[seed=1\] +━{7}─{3} {2}75% +2\.0 s$/);
  expect(screen.shown[2]).toMatch(/^ {2}evaluate\[targets=attention.*….*precision=nf4,seed=42\] +2\.0 s$/);
  // Colours take no room: the times stand below each other.
  expect(screen.shown[1]).toHaveLength(79);
  expect(screen.shown[2]).toHaveLength(79);
  expect(screen.longest).toBeLessThan(80);
  for (const task of ['train[seed=1]', long]) say(done(task));
  say({ type: 'published', path: '/p/results/layer-sensitivity/tables', task: long, artifact: 't' });
  say({ type: 'run-finished', run: 'r', status: 'done', counts: { ...counts, executed: 2, cached: 2 }, seconds: 2.5 });
  expect(screen.shown).toEqual([
    'layer-sensitivity: done in 2.5 s: 2 run, 2 up to date',
    '  results/layer-sensitivity/: tables',
  ]);
});

it('keeps a failure above the display, once', () => {
  const { report, say } = told();
  say({ type: 'run-started', run: 'r', pipeline: 'p', profile: null, wanted: 2 });
  for (const task of ['a', 'b']) say(started(task));
  const failure = {
    kind: 'exception',
    message: 'task a failed: Error: x',
    stack: 'Error: x\n    at run (stages/a.ts:3:1)\n    at main',
  } as const;
  say({ type: 'task-failed', task: 'a', failure, tail: ['one', 'two'], log: 'cache/log' });
  vi.advanceTimersByTime(5000);
  const words = [
    'task a failed: Error: x',
    '  at run (stages/a.ts:3:1)',
    '  at main',
    '  | one',
    '  | two',
    '  the whole log: pipe log a',
  ];
  expect(screen.shown.slice(0, 6)).toEqual(words);
  expect(screen.shown).toHaveLength(8);
  expect(screen.shown[6]).toContain('1/2  1 running  1 failed');
  report.close();
  expect(screen.shown).toEqual(words);
});

it('counts what does not fit', () => {
  const { report, say } = told();
  say({ type: 'run-started', run: 'r', pipeline: 'p', profile: null, wanted: 20 });
  for (let n = 0; n < 12; n++) say(started(`t[n=${n}]`));
  vi.advanceTimersByTime(500);
  expect(screen.shown).toHaveLength(10);
  expect(screen.shown.at(-1)).toBe('  and 4 more');
  report.close();
  expect(screen.shown).toEqual([]);
});

it.each([20, 30, 39, 41, 60])('fits a terminal of %i columns', (columns) => {
  process.stdout.columns = columns;
  const { report, say } = told();
  say({ type: 'run-started', run: 'r', pipeline: 'p', profile: null, wanted: 2 });
  for (const task of ['a', long]) {
    say(started(task));
    say({ type: 'task-progress', task, done: 30, total: 40 });
  }
  vi.advanceTimersByTime(2040);
  expect(screen.shown).toHaveLength(3);
  expect(screen.shown[1]).toMatch(/^ {2}a .* 2\.0 s$/);
  expect(screen.longest).toBeLessThan(columns);
  report.close();
});

it('says nothing but one line when nothing had to run', () => {
  const { say } = told();
  say({ type: 'run-started', run: 'r', pipeline: 'p', profile: null, wanted: 1 });
  say({ type: 'task-cached', task: 'data', key: 'k' });
  say({ type: 'run-finished', run: 'r', status: 'done', counts: { ...counts, wanted: 1, cached: 1 }, seconds: 0.04 });
  expect(screen.lines).toEqual(['layer-sensitivity: up to date (1 task, 0.0 s)', '']);
});
