/** A value of a pipeline file that may hold `${{ }}`: read once, evaluated for each task. */
import type { DiagnosticList, Span } from './diagnostics.ts';
import { evaluate, rootsOf, type Scope } from './evaluate.ts';
import { type Expression, ExpressionError, parseExpression } from './expression.ts';
import { toText } from './functions.ts';
import { type Node, type ScalarNode, spanWithin } from './source.ts';
import type { Json } from './stage.ts';

/** A compiled value. A string that is exactly one expression gives that expression's value; otherwise a string is filled in. */
export interface Template {
  readonly node: Node;
  /** The names that its expressions begin with: what its value can depend on. */
  readonly roots: ReadonlySet<string>;
  /** Whether it holds no expression at all: evaluating gives the same value, shared. */
  readonly constant: boolean;
  /** @throws TemplateError */
  evaluate(scope: Scope): Json;
}

/** An expression that has no value: where it stands in the file, and why. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
  readonly span: Span;
  readonly hint: string | null;

  constructor(node: ScalarNode, cause: ExpressionError) {
    super(cause.message);
    this.span = spanWithin(node, cause.start, cause.end);
    this.hint = cause.hint;
  }
}

/** Compiles a value with everything below it. Expressions that do not parse are reported. @returns null if there was one. */
export function compileTemplate(node: Node, diagnostics: DiagnosticList): Template | null {
  if (node.kind === 'scalar') return compileScalar(node, diagnostics);
  if (node.kind === 'list') {
    const items = node.items.map((item) => compileTemplate(item, diagnostics));
    if (!items.every((item) => item !== null)) return null;
    return composite(node, items, (scope) => items.map((item) => item.evaluate(scope)));
  }
  const entries = [...node.entries].map(([key, { value }]) => [key, compileTemplate(value, diagnostics)] as const);
  const complete = entries.filter((entry): entry is readonly [string, Template] => entry[1] !== null);
  if (complete.length < entries.length) return null;
  const values = complete.map(([, value]) => value);
  return composite(node, values, (scope) => {
    const result: { [key: string]: Json } = {};
    for (const [key, value] of complete) result[key] = value.evaluate(scope);
    return result;
  });
}

/**
 * Evaluates, and reports an expression that fails.
 * @returns the value, or undefined when it was reported
 */
export function evaluateOrReport(template: Template, scope: Scope, diagnostics: DiagnosticList): Json | undefined {
  try {
    return template.evaluate(scope);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    diagnostics.report(error.span, error.message, error.hint);
    return undefined;
  }
}

function composite(node: Node, parts: readonly Template[], evaluateParts: (scope: Scope) => Json): Template {
  if (parts.every((part) => part.constant)) return constant(node, evaluateParts({}));
  return { node, roots: new Set(parts.flatMap((part) => [...part.roots])), constant: false, evaluate: evaluateParts };
}

function constant(node: Node, value: Json): Template {
  return { node, roots: new Set(), constant: true, evaluate: () => value };
}

function compileScalar(node: ScalarNode, diagnostics: DiagnosticList): Template | null {
  if (typeof node.value !== 'string' || !node.value.includes('${{')) return constant(node, node.value);
  const parts = partsOrReport(node, node.value, diagnostics);
  if (parts === null) return null;
  const only = parts.length === 1 ? parts[0]! : '';
  if (typeof only === 'string') return filledIn(node, parts);
  return { node, roots: rootsOf(only), constant: false, evaluate: (scope) => evaluateIn(node, only, scope) };
}

function partsOrReport(node: ScalarNode, text: string, diagnostics: DiagnosticList): readonly Part[] | null {
  try {
    return parseParts(text);
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    diagnostics.report(spanWithin(node, error.start, error.end), error.message, error.hint);
    return null;
  }
}

/** Cuts a string into literal text and expressions. @throws ExpressionError */
function parseParts(text: string): readonly Part[] {
  const parts: Part[] = [];
  let at = 0;
  for (;;) {
    const open = text.indexOf('${{', at);
    if (open === -1) break;
    if (open > at) parts.push(text.slice(at, open));
    const { tree, end } = parseExpression(text, open + 3);
    parts.push(tree);
    at = end;
  }
  if (at < text.length) parts.push(text.slice(at));
  return parts;
}

/**
 * Compiles a command to the list of its words. A string is cut at spaces outside quotes before its expressions are filled in, so
 * a value with spaces stays one argument. @returns null when an expression that does not parse was reported.
 */
export function compileCommand(node: Node, diagnostics: DiagnosticList): Template | null {
  if (node.kind === 'list') {
    const items = node.items.map((item) => compileTemplate(item, diagnostics));
    if (!items.every((item) => item !== null)) return null;
    return composite(node, items, (scope) => items.map((item) => String(item.evaluate(scope))));
  }
  if (node.kind !== 'scalar') return null;
  const text = String(node.value);
  const parts = partsOrReport(node, text, diagnostics);
  if (parts === null) return null;
  try {
    const words = splitWords(parts).map((word) => filledIn(node, word));
    return composite(node, words, (scope) => words.map((word) => word.evaluate(scope)));
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    diagnostics.report(node.span, error.message, error.hint);
    return null;
  }
}

type Part = string | Expression;

/** A command that cannot be cut into words. */
class CommandError extends Error {
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/** Characters that mean something to a shell and nothing without one. */
const SHELL_ONLY = /[|&;<>()$`*?]/;

/**
 * Cuts a command's parts at spaces outside quotes, and removes the quotes. A backslash takes the next character as it is.
 * @throws CommandError for an open quote, and for what only a shell understands
 */
function splitWords(parts: readonly Part[]): readonly (readonly Part[])[] {
  const words: Part[][] = [];
  let word: Part[] | null = null;
  let quote: string | null = null;
  for (const part of parts) {
    if (typeof part !== 'string') {
      word ??= [];
      word.push(part);
      continue;
    }
    for (let at = 0; at < part.length; at++) {
      const character = part[at]!;
      if (quote === null && /\s/.test(character)) {
        if (word !== null) words.push(word);
        word = null;
        continue;
      }
      word ??= [];
      const escapes = character === '\\' && (quote === null || (quote === '"' && /["\\]/.test(part[at + 1] ?? '')));
      if (escapes) word.push(part[++at] ?? '');
      else if (character === quote) quote = null;
      else if (quote === null && (character === '"' || character === "'")) quote = character;
      else if (quote === null && SHELL_ONLY.test(character)) {
        throw new CommandError(`the command holds ${character}, which needs a shell`, 'quote it, or add "shell: true"');
      } else word.push(character);
    }
  }
  if (quote !== null) throw new CommandError('a quote in the command is not closed', `close it with ${quote}`);
  if (word !== null) words.push(word);
  if (words.length === 0) throw new CommandError('the command is empty', 'write the program and its arguments');
  return words;
}

/** Fills expressions into text: the result is a string. */
function filledIn(node: ScalarNode, parts: readonly Part[]): Template {
  if (parts.every((part) => typeof part === 'string')) return constant(node, parts.join(''));
  return {
    node,
    roots: rootsOfParts(parts),
    constant: false,
    evaluate: (scope) => parts.map((part) => (typeof part === 'string' ? part : textOf(node, part, scope))).join(''),
  };
}

function rootsOfParts(parts: readonly Part[]): ReadonlySet<string> {
  return new Set(parts.flatMap((part) => (typeof part === 'string' ? [] : [...rootsOf(part)])));
}

function evaluateIn(node: ScalarNode, tree: Expression, scope: Scope): Json {
  try {
    return evaluate(tree, scope);
  } catch (error) {
    throw error instanceof ExpressionError ? new TemplateError(node, error) : error;
  }
}

function textOf(node: ScalarNode, tree: Expression, scope: Scope): string {
  const value = evaluateIn(node, tree, scope);
  try {
    return toText(value);
  } catch (error) {
    throw new TemplateError(node, new ExpressionError((error as Error).message, tree));
  }
}
