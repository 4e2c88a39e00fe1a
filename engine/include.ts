/** Reads a pipeline file with all that it includes, as one set of declarations. */
import { readFileSync } from 'node:fs';
import { basename, dirname, extname, isAbsolute, relative, resolve, sep } from 'node:path';
import { type DiagnosticList, locate, type Span, sourceText } from './diagnostics.ts';
import { messageOf } from './errors.ts';
import { type Declarations, type Entry, parsePipeline, type StageDeclaration } from './parse.ts';
import type { SchemaChecker } from './schema.ts';
import { parseYaml } from './source.ts';

/** The declarations of a file and its includes; `own` are the stages that the file itself declares. */
export interface Pipeline extends Declarations {
  readonly name: string;
  readonly own: ReadonlySet<string>;
  /** Absolute paths of the files that were read, in order. */
  readonly files: readonly string[];
}

/** The most text that a pipeline file may hold. */
const MAX_BYTES = 4_000_000;

/**
 * Reads `file`. What it includes comes first, as if it had been written above: the file's own params and profiles win over
 * included ones; a stage may be declared only once.
 * @param root the project's root: files in it are named relative to it in messages
 * @throws PipelineError when the file itself cannot be read; everything else goes to `diagnostics`
 */
export function readPipeline(
  file: string,
  root: string,
  checker: SchemaChecker,
  diagnostics: DiagnosticList,
): Pipeline {
  const reader = new IncludeReader(root, checker, diagnostics);
  const declarations = reader.read(resolve(root, file), null);
  if (declarations === null) diagnostics.throwIfAny();
  return {
    ...declarations!,
    name: declarations!.name ?? basename(file, extname(file)),
    files: [...reader.files],
  };
}

type Merged = Declarations & { readonly own: ReadonlySet<string> };

class IncludeReader {
  readonly files = new Set<string>();
  readonly #root: string;
  readonly #checker: SchemaChecker;
  readonly #diagnostics: DiagnosticList;
  /** The files being read, outermost first. */
  readonly #open: string[] = [];
  readonly #done = new Map<string, Merged | null>();

  constructor(root: string, checker: SchemaChecker, diagnostics: DiagnosticList) {
    this.#root = root;
    this.#checker = checker;
    this.#diagnostics = diagnostics;
  }

  /** @param from the entry that includes the file; null for the outermost */
  read(path: string, from: Span | null): Merged | null {
    const cycle = this.#open.indexOf(path);
    if (cycle !== -1) {
      const names = [...this.#open.slice(cycle), path].map((open) => this.#name(open));
      this.#diagnostics.report(from, `the file includes itself: ${names.join(' -> ')}`);
      return null;
    }
    const known = this.#done.get(path);
    if (known !== undefined) return known;
    this.#open.push(path);
    const merged = this.#readNew(path, from);
    this.#open.pop();
    this.#done.set(path, merged);
    return merged;
  }

  #readNew(path: string, from: Span | null): Merged | null {
    const text = this.#text(path, from);
    if (text === null) return null;
    this.files.add(path);
    const root = parseYaml(sourceText('file', this.#name(path), text), this.#diagnostics);
    if (root === null) return null;
    const wrong = this.#checker.checkPipeline(root, this.#diagnostics);
    const own = parsePipeline(root, wrong, this.#diagnostics);
    const included = own.include.map((entry) => this.read(resolve(dirname(path), String(entry.value)), entry.span));
    return this.#merge(
      included.filter((declarations) => declarations !== null),
      own,
    );
  }

  #text(path: string, from: Span | null): string | null {
    const name = this.#name(path);
    try {
      const bytes = readFileSync(path);
      if (bytes.length > MAX_BYTES) throw new Error(`the file is larger than ${MAX_BYTES} bytes`);
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      const reasons: Readonly<Record<string, string>> = {
        ENOENT: 'there is no such file',
        EISDIR: 'it is a folder',
        EACCES: 'it may not be read',
        ERR_ENCODING_INVALID_ENCODED_DATA: 'it is not UTF-8 text',
      };
      this.#diagnostics.report(from, `cannot read ${name}: ${reasons[code ?? ''] ?? messageOf(error)}`);
      return null;
    }
  }

  #merge(included: readonly Merged[], own: Declarations): Merged {
    const params = new Map<string, Entry>();
    const profiles = new Map<string, Map<string, Entry>>();
    const stages = new Map<string, StageDeclaration>();
    const broken = new Set<string>();
    for (const part of [...included, own]) {
      for (const [name, entry] of part.params) params.set(name, entry);
      for (const [name, values] of part.profiles) {
        profiles.set(name, new Map([...(profiles.get(name) ?? []), ...values]));
      }
      for (const name of part.broken) broken.add(name);
      for (const [name, stage] of part.stages) {
        const other = stages.get(name);
        if (other !== undefined && other !== stage) {
          const { file, line } = locate(other.key);
          this.#diagnostics.report(
            stage.key,
            `the stage "${name}" is already declared at ${file}:${line}`,
            'rename one of them',
          );
        }
        stages.set(name, stage);
      }
    }
    const paramsReadable = [...included, own].every((part) => part.paramsReadable);
    return {
      ...own,
      params,
      profiles,
      paramsReadable,
      stages,
      broken,
      own: new Set([...own.stages.keys(), ...own.broken]),
    };
  }

  #name(path: string): string {
    const inside = relative(this.#root, path);
    return inside.startsWith('..') || isAbsolute(inside) ? path : inside.split(sep).join('/');
  }
}
