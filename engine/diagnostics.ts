/** Errors in what the user wrote: where, the line itself, what is wrong and what to write instead. */
import { UsageError } from './errors.ts';
import type { Location } from './graph.ts';

/** A stretch of a source text, in UTF-16 offsets; `end` is exclusive. */
export interface Span {
  readonly source: SourceText;
  readonly start: number;
  readonly end: number;
}

/** A text that diagnostics point into: a file, or the value of a command-line option. */
export interface SourceText {
  /** How the user knows it: the path relative to the project, or the option. */
  readonly name: string;
  readonly kind: 'file' | 'option';
  readonly text: string;
  /** Offset of the first character of each line. */
  readonly lineStarts: readonly number[];
}

/** One finding. `span` is null where no place can be named (a missing file, say). */
export interface Diagnostic {
  readonly message: string;
  readonly span: Span | null;
  readonly hint: string | null;
}

/** Thrown when a pipeline, or what the command line adds to it, is wrong. Its message is the rendered report. */
export class PipelineError extends UsageError {
  override readonly name = 'PipelineError';
  readonly diagnostics: readonly Diagnostic[];

  constructor(diagnostics: readonly Diagnostic[]) {
    super(renderDiagnostics(diagnostics));
    this.diagnostics = diagnostics;
  }
}

/** How many findings a report shows before it only counts the rest. */
const SHOWN = 20;

/** Collects findings, so that one reading of a file reports as many as can be found. The same finding is kept once. */
export class DiagnosticList {
  readonly #found = new Map<string, Diagnostic>();

  /** Adds a finding at `span`. */
  report(span: Span | null, message: string, hint: string | null = null): void {
    const key = `${span?.source.name}\0${span?.start}\0${message}`;
    if (!this.#found.has(key)) this.#found.set(key, { message, span, hint });
  }

  get count(): number {
    return this.#found.size;
  }

  /** @throws PipelineError when anything was reported; findings come in the order of their files and places. */
  throwIfAny(): void {
    if (this.#found.size === 0) return;
    const all = [...this.#found.values()];
    const files = [...new Set(all.map((d) => d.span?.source))];
    const rank = (d: Diagnostic): number => files.indexOf(d.span?.source);
    throw new PipelineError(all.sort((a, b) => rank(a) - rank(b) || (a.span?.start ?? 0) - (b.span?.start ?? 0)));
  }
}

/** @returns a text prepared for `locate`. */
export function sourceText(kind: SourceText['kind'], name: string, text: string): SourceText {
  const lineStarts = [0];
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) lineStarts.push(at + 1);
  return { kind, name, text, lineStarts };
}

/** @returns the place of a span's start; line and column count from 1. */
export function locate(span: Span): Location {
  const { lineStarts, name } = span.source;
  let low = 0;
  let high = lineStarts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (lineStarts[middle]! <= span.start) low = middle;
    else high = middle - 1;
  }
  return { file: name, line: low + 1, column: span.start - lineStarts[low]! + 1 };
}

/** @returns `file:line:col: message`, the line with a caret under the span, and the hint. */
export function renderDiagnostic({ message, span, hint }: Diagnostic): string {
  if (span === null) return hint === null ? message : `${message}\n  ${hint}`;
  const { file, line, column } = locate(span);
  const { kind, text, lineStarts } = span.source;
  const start = lineStarts[line - 1]!;
  const code = text.slice(start, (lineStarts[line] ?? text.length + 1) - 1).replace(/\r$/, '');
  const caret = '^'.repeat(Math.max(1, Math.min(span.end - span.start, code.length - column + 1)));
  const [place, gutter] = kind === 'file' ? [`${file}:${line}:${column}`, `${line} |`] : [file, file];
  const blank = gutter.replace(/[^|]/g, ' ');
  const pad = code.slice(0, column - 1).replace(/[^\t]/g, ' ');
  const lines = [`${place}: ${message}`, `  ${gutter} ${code}`, `  ${blank} ${pad}${caret}`];
  if (hint !== null) lines.push(kind === 'file' ? `  ${blank.replace('|', '=')} ${hint}` : `  = ${hint}`);
  return lines.join('\n');
}

/** @returns the report of several findings; past the first twenty they are counted only. */
export function renderDiagnostics(diagnostics: readonly Diagnostic[]): string {
  const shown = diagnostics.slice(0, SHOWN).map(renderDiagnostic);
  if (diagnostics.length > SHOWN) shown.push(`and ${diagnostics.length - SHOWN} more`);
  return shown.join('\n\n');
}
