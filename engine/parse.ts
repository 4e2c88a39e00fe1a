/** From the tree of a pipeline file to its declarations: what each entry says, with expressions compiled and not yet evaluated. */
import type { DiagnosticList, Span } from './diagnostics.ts';
import type { MapNode, Node, ScalarNode } from './source.ts';
import { compileCommand, compileTemplate, type Template } from './template.ts';

/** A key of a map and its value, compiled. */
export interface Entry {
  readonly key: Span;
  readonly value: Template;
}

/** What a stage does. */
export type Work =
  | { readonly kind: 'uses'; readonly stage: Template }
  | { readonly kind: 'run'; readonly command: Template; readonly shell: boolean };

/** One entry under `stages:`. */
export interface StageDeclaration {
  readonly name: string;
  readonly key: Span;
  readonly work: Work;
  readonly with: Template | null;
  readonly inputs: ReadonlyMap<string, Entry>;
  readonly outputs: ReadonlyMap<string, Entry>;
  readonly needs: readonly ScalarNode[];
  readonly matrix: Template | null;
  readonly env: ReadonlyMap<string, Entry>;
  readonly secrets: readonly ScalarNode[];
  readonly timeout: Template | null;
  readonly retry: Template | null;
  readonly cpu: Template | null;
  readonly gpu: Template | null;
  readonly memory: Template | null;
}

/** One entry under `publish:`. */
export interface PublishDeclaration {
  readonly path: Template;
  readonly from: Template;
}

/** A pipeline, with what it includes merged in. */
export interface Declarations {
  readonly name: string | null;
  readonly description: string;
  readonly params: ReadonlyMap<string, Entry>;
  readonly profiles: ReadonlyMap<string, ReadonlyMap<string, Entry>>;
  /** Whether every param could be read: if not, what uses params cannot be checked. */
  readonly paramsReadable: boolean;
  readonly include: readonly ScalarNode[];
  readonly stages: ReadonlyMap<string, StageDeclaration>;
  /** Stages that are named in the file but so wrong that nothing more can be said of them: a reference to one is not an error. */
  readonly broken: ReadonlySet<string>;
  readonly publish: readonly PublishDeclaration[];
}

/**
 * Reads the declarations of one file whose shape has been checked.
 * @param wrong the values that the check found wrong; they are read as if they were not there
 */
export function parsePipeline(root: Node, wrong: ReadonlySet<Node>, diagnostics: DiagnosticList): Declarations {
  return new PipelineParser(wrong, diagnostics).pipeline(root);
}

class PipelineParser {
  readonly #wrong: ReadonlySet<Node>;
  readonly #diagnostics: DiagnosticList;

  constructor(wrong: ReadonlySet<Node>, diagnostics: DiagnosticList) {
    this.#wrong = wrong;
    this.#diagnostics = diagnostics;
  }

  pipeline(root: Node): Declarations {
    const top = root.kind === 'map' ? root : null;
    const before = this.#diagnostics.count;
    const params = this.#entries(this.#mapAt(top, 'params'));
    const profiles = new Map<string, ReadonlyMap<string, Entry>>();
    for (const [name, { value }] of this.#mapAt(top, 'profiles')?.entries ?? []) {
      profiles.set(name, this.#entries(value.kind === 'map' ? value : null));
    }
    const wrongParams = ['params', 'profiles'].some((key) => this.#isWrong(top?.entries.get(key)?.value));
    const paramsReadable = this.#diagnostics.count === before && !wrongParams;
    const stages = new Map<string, StageDeclaration>();
    const broken = new Set<string>();
    for (const [name, { key, value }] of this.#mapAt(top, 'stages')?.entries ?? []) {
      const stage = value.kind === 'map' ? this.#stage(name, key, value) : null;
      if (stage === null) broken.add(name);
      else stages.set(name, stage);
    }
    return {
      name: this.#stringAt(top, 'name'),
      description: this.#stringAt(top, 'description') ?? '',
      params,
      profiles,
      paramsReadable,
      include: scalars(this.#at(top, 'include')),
      stages,
      broken,
      publish: this.#publish(this.#mapAt(top, 'publish')),
    };
  }

  #stage(name: string, key: Span, node: MapNode): StageDeclaration | null {
    const before = this.#diagnostics.count;
    const work = this.#work(name, key, node);
    const core = {
      with: this.#templateAt(node, 'with'),
      inputs: this.#entries(this.#mapAt(node, 'in')),
      outputs: this.#entries(this.#mapAt(node, 'out')),
      matrix: this.#templateAt(node, 'matrix'),
    };
    const isWrong = ['with', 'in', 'out', 'matrix'].some((part) => this.#isWrong(node.entries.get(part)?.value));
    const complete = work !== null && !isWrong && this.#diagnostics.count === before;
    const resources = this.#mapAt(node, 'resources');
    const limits = {
      needs: scalars(this.#at(node, 'needs')),
      env: this.#entries(this.#mapAt(node, 'env')),
      secrets: scalars(this.#at(node, 'secrets')),
      timeout: this.#templateAt(node, 'timeout'),
      retry: this.#templateAt(node, 'retry'),
      cpu: this.#templateAt(resources, 'cpu'),
      gpu: this.#templateAt(resources, 'gpu'),
      memory: this.#templateAt(resources, 'memory'),
    };
    return complete ? { name, key, work, ...core, ...limits } : null;
  }

  /** Decides between `uses` and `run`, and refuses the keys that belong to the other. */
  #work(name: string, key: Span, node: MapNode): Work | null {
    const uses = node.entries.get('uses');
    const run = node.entries.get('run');
    const refuse = (stray: string, hint: string): void => {
      const entry = node.entries.get(stray);
      if (entry !== undefined)
        this.#diagnostics.report(
          entry.key,
          `"${stray}" does not go with "${uses === undefined ? 'run' : 'uses'}"`,
          hint,
        );
    };
    if (uses !== undefined && run !== undefined) {
      this.#diagnostics.report(run.key, `the stage "${name}" has both "uses" and "run"`, 'keep one of them');
      return null;
    }
    if (uses !== undefined) {
      refuse('out', 'a stage module declares its own outputs; `pipe stages NAME` lists them');
      refuse('shell', 'only a command can go through a shell');
      const stage = this.#templateAt(node, 'uses');
      return stage === null ? null : { kind: 'uses', stage };
    }
    if (run === undefined) {
      this.#diagnostics.report(key, `the stage "${name}" does nothing`, 'give it "uses: MODULE" or "run: COMMAND"');
      return null;
    }
    refuse('with', 'a command takes its parameters in its text, as expressions over params and matrix');
    const shellNode = this.#at(node, 'shell');
    const shell = shellNode?.kind === 'scalar' && shellNode.value === true;
    if (shell && run.value.kind === 'list') {
      this.#diagnostics.report(
        run.key,
        'a command for the shell must be one string',
        'write it as one string, or leave out "shell"',
      );
      return null;
    }
    if (this.#wrong.has(run.value)) return null;
    const command = shell
      ? compileTemplate(run.value, this.#diagnostics)
      : compileCommand(run.value, this.#diagnostics);
    return command === null ? null : { kind: 'run', command, shell };
  }

  #publish(node: MapNode | null): readonly PublishDeclaration[] {
    const found: PublishDeclaration[] = [];
    for (const [text, { key, value }] of node?.entries ?? []) {
      const from = value.kind === 'map' ? this.#templateAt(value, 'from') : compileTemplate(value, this.#diagnostics);
      const path = compileTemplate({ kind: 'scalar', value: text, span: key }, this.#diagnostics);
      if (from !== null && path !== null && !this.#wrong.has(value)) found.push({ path, from });
    }
    return found;
  }

  #entries(node: MapNode | null): ReadonlyMap<string, Entry> {
    const entries = new Map<string, Entry>();
    for (const [name, { key, value }] of node?.entries ?? []) {
      const template = compileTemplate(value, this.#diagnostics);
      if (template !== null) entries.set(name, { key, value: template });
    }
    return entries;
  }

  /** Whether a value, or one below it, was found wrong. */
  #isWrong(node: Node | undefined): boolean {
    return this.#wrong.size > 0 && node !== undefined && [...descendants(node)].some((below) => this.#wrong.has(below));
  }

  #at(node: MapNode | null, key: string): Node | null {
    const value = node?.entries.get(key)?.value;
    return value === undefined || this.#wrong.has(value) ? null : value;
  }

  #mapAt(node: MapNode | null, key: string): MapNode | null {
    const value = this.#at(node, key);
    return value?.kind === 'map' ? value : null;
  }

  #stringAt(node: MapNode | null, key: string): string | null {
    const value = this.#at(node, key);
    return value?.kind === 'scalar' && typeof value.value === 'string' ? value.value : null;
  }

  #templateAt(node: MapNode | null, key: string): Template | null {
    const value = this.#at(node, key);
    return value === null ? null : compileTemplate(value, this.#diagnostics);
  }
}

/** A value that may be one string or a list of them. */
function scalars(node: Node | null): readonly ScalarNode[] {
  if (node === null) return [];
  const items = node.kind === 'list' ? node.items : [node];
  return items.filter((item) => item.kind === 'scalar');
}

function* descendants(node: Node): Iterable<Node> {
  yield node;
  if (node.kind === 'list') for (const item of node.items) yield* descendants(item);
  if (node.kind === 'map') for (const { value } of node.entries.values()) yield* descendants(value);
}
