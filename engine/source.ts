/** Reads YAML into a tree that remembers where everything was written. */
import { isAlias, isMap, isScalar, isSeq, type ParsedNode, parseDocument, type Scalar } from 'yaml';
import { type DiagnosticList, locate, type SourceText, type Span } from './diagnostics.ts';
import type { Json } from './stage.ts';

export interface ScalarNode {
  readonly kind: 'scalar';
  readonly value: null | boolean | number | string;
  readonly span: Span;
}
export interface ListNode {
  readonly kind: 'list';
  readonly items: readonly Node[];
  readonly span: Span;
}
export interface MapNode {
  readonly kind: 'map';
  readonly entries: ReadonlyMap<string, MapEntry>;
  readonly span: Span;
}
export interface MapEntry {
  readonly key: Span;
  readonly value: Node;
}
/** A YAML value. An alias is the node it names, so a tree may share branches. */
export type Node = ScalarNode | ListNode | MapNode;

/** The most nodes that a file may stand for once its aliases are written out: what a "billion laughs" file exceeds. */
const MAX_NODES = 100_000;
/** The deepest nesting accepted: keeps every recursive walk within the stack. */
const MAX_DEPTH = 100;

/**
 * Parses one YAML document: `text`, which stands for the whole of `source` and has its places. Findings (syntax, duplicate keys, keys that are not strings, numbers that JSON lacks, aliases that
 * grow without bound) go to `diagnostics`.
 * @returns the root, or null when nothing could be made of the text.
 */
export function parseYaml(source: SourceText, diagnostics: DiagnosticList, text: string = source.text): Node | null {
  const document = parseDocument(text, {
    prettyErrors: false,
    uniqueKeys: false,
    strict: true,
    stringKeys: false,
  });
  const lines = new Set<number>();
  for (const problem of [...document.errors, ...document.warnings]) {
    const [start, end] = problem.pos;
    const span = { source, start, end: Math.max(end, start + 1) };
    const { line } = locate(span);
    // What follows on a line is mostly the first mistake again.
    if (lines.has(line)) continue;
    lines.add(line);
    if (text.startsWith('${{', start - 1)) {
      const hint = 'put the whole value into quotes: YAML reads the braces otherwise';
      diagnostics.report({ ...span, start: start - 1 }, 'an expression between { } or [ ] needs quotes', hint);
    } else {
      diagnostics.report(span, problem.message, problem.code === 'TAB_AS_INDENT' ? 'indent with spaces' : null);
    }
  }
  if (document.errors.length > 0) return null;
  if (document.contents === null) {
    return { kind: 'scalar', value: null, span: { source, start: 0, end: 1 } };
  }
  return new TreeBuilder(source, diagnostics).build(document.contents as ParsedNode);
}

/** Turns the library's nodes into ours: resolves aliases within bounds and rejects what JSON cannot hold. */
class TreeBuilder {
  readonly #source: SourceText;
  readonly #diagnostics: DiagnosticList;
  readonly #anchors = new Map<string, { node: Node; size: number } | 'open'>();
  #tooLarge = false;

  constructor(source: SourceText, diagnostics: DiagnosticList) {
    this.#source = source;
    this.#diagnostics = diagnostics;
  }

  build(root: ParsedNode): Node | null {
    const { node } = this.#convert(root, 0);
    return this.#tooLarge ? null : node;
  }

  #convert(yaml: ParsedNode | null, depth: number): { node: Node; size: number } {
    if (yaml === null) return { node: this.#nothing({ source: this.#source, start: 0, end: 1 }), size: 1 };
    const span: Span = { source: this.#source, start: yaml.range[0], end: yaml.range[1] };
    if (depth > MAX_DEPTH) {
      this.#diagnostics.report(span, `nested more than ${MAX_DEPTH} levels deep`);
      this.#tooLarge = true;
      return { node: this.#nothing(span), size: 1 };
    }
    if (isAlias(yaml)) return this.#alias(yaml.source, span);
    const anchor = yaml.anchor;
    if (anchor !== undefined) this.#anchors.set(anchor, 'open');
    let result: { node: Node; size: number };
    if (isMap(yaml)) result = this.#map(yaml.items as readonly Pair[], span, depth);
    else if (isSeq(yaml)) result = this.#list(yaml.items as readonly ParsedNode[], span, depth);
    else result = { node: this.#scalar(yaml, span), size: 1 };
    if (anchor !== undefined) this.#anchors.set(anchor, result);
    return result;
  }

  #alias(name: string, span: Span): { node: Node; size: number } {
    const target = this.#anchors.get(name);
    if (target === undefined || target === 'open') {
      this.#diagnostics.report(span, `the alias *${name} stands inside the value that it names`);
      return { node: this.#nothing(span), size: 1 };
    }
    return target;
  }

  #list(items: readonly ParsedNode[], span: Span, depth: number): { node: Node; size: number } {
    const parts = items.map((item) => this.#convert(item, depth + 1));
    return { node: { kind: 'list', items: parts.map((p) => p.node), span }, size: this.#sum(parts, span) };
  }

  #map(pairs: readonly Pair[], span: Span, depth: number): { node: Node; size: number } {
    const entries = new Map<string, MapEntry>();
    const parts: { size: number }[] = [];
    for (const { key, value } of pairs) {
      if (!isScalar(key) || key.value === null || typeof key.value === 'object') {
        const at = key === null ? span : { source: this.#source, start: key.range[0], end: key.range[1] };
        this.#diagnostics.report(at, 'a key must be a name', 'quote a key that holds special characters');
        continue;
      }
      const name = typeof key.value === 'string' ? key.value : (key.source ?? String(key.value));
      const keySpan: Span = { source: this.#source, start: key.range[0], end: key.range[1] };
      const first = entries.get(name);
      if (first !== undefined) {
        this.#diagnostics.report(
          keySpan,
          `duplicate key "${name}"`,
          `it is first written on line ${lineOf(first.key)}`,
        );
        continue;
      }
      if (name === '__proto__') {
        this.#diagnostics.report(keySpan, `the key "${name}" is not allowed`, 'choose another name');
        continue;
      }
      const part = value === null ? { node: this.#nothing(keySpan), size: 1 } : this.#convert(value, depth + 1);
      parts.push(part);
      entries.set(name, { key: keySpan, value: part.node });
    }
    return { node: { kind: 'map', entries, span }, size: this.#sum(parts, span) };
  }

  #scalar(yaml: Scalar.Parsed, span: Span): ScalarNode {
    const { value } = yaml;
    if (typeof value === 'number' && !Number.isFinite(value)) {
      this.#diagnostics.report(span, `${yaml.source} is not a finite number`, 'quote it if a string is meant');
      return this.#nothing(span);
    }
    if (value === null || typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string') {
      // An empty value has an empty span: give the caret something to stand under.
      return { kind: 'scalar', value, span: span.end > span.start ? span : { ...span, end: span.start + 1 } };
    }
    this.#diagnostics.report(
      span,
      'a value of this type has no place in a pipeline',
      'write a string, number, list or map',
    );
    return this.#nothing(span);
  }

  #sum(parts: readonly { size: number }[], span: Span): number {
    const size = parts.reduce((total, part) => total + part.size, 1);
    if (size > MAX_NODES && !this.#tooLarge) {
      this.#tooLarge = true;
      this.#diagnostics.report(span, `more than ${MAX_NODES} values once its aliases are written out`);
    }
    return size;
  }

  #nothing(span: Span): ScalarNode {
    return { kind: 'scalar', value: null, span };
  }
}

interface Pair {
  readonly key: ParsedNode | null;
  readonly value: ParsedNode | null;
}

function lineOf({ source, start }: Span): number {
  return source.lineStarts.findLastIndex((at) => at <= start) + 1;
}

/** @returns the plain value of a node; shared branches give shared values, which nobody may change. */
export function toJson(node: Node): Json {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(toJson);
  return Object.fromEntries([...node.entries].map(([key, { value }]) => [key, toJson(value)]));
}

/** @returns the node at `path` below `root`, or the deepest one on the way that exists. */
export function nodeAt(root: Node, path: readonly string[]): Node {
  let node = root;
  for (const step of path) {
    const next =
      node.kind === 'map' ? node.entries.get(step)?.value : node.kind === 'list' ? node.items[Number(step)] : undefined;
    if (next === undefined) return node;
    node = next;
  }
  return node;
}

/** @returns where the key of a map is written; the whole node if it has no such key. */
export function keySpan(node: Node, key: string): Span {
  return (node.kind === 'map' ? node.entries.get(key)?.key : undefined) ?? node.span;
}

/**
 * @returns the span in the file of the characters `start` to `end` of a string's value, for a plain, quoted or block string: the
 * value is aligned with the text it was written as, skipping what only the notation needs (quotes, escapes, indentation).
 */
export function spanWithin(node: ScalarNode, start: number, end: number): Span {
  const { source } = node.span;
  const value = String(node.value);
  let at = node.span.start;
  let from: number | null = null;
  for (let index = 0; index < value.length && at < node.span.end; at++) {
    if (source.text[at] !== value[index]) continue;
    if (index === start) from = at;
    index++;
    if (index === end) return { source, start: from ?? at, end: at + 1 };
  }
  // The place lies at the end of the value, or what was written cannot be aligned with it.
  from ??= Math.max(node.span.start, at - 1);
  return { source, start: from, end: Math.max(from + 1, at) };
}
