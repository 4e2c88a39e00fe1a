/** Joins tasks: finds the producers of each task's inputs, and the tasks that must be done before it. */
import { resolve } from 'node:path';
import type { DiagnosticList, Span } from './diagnostics.ts';
import type { Scope } from './evaluate.ts';
import { isEqual, typeName } from './functions.ts';
import type { FanInMember, InputRef, Task } from './graph.ts';
import type { ExpandedStage, Instance } from './instances.ts';
import { type Combination, taskId } from './matrix.ts';
import type { Entry, StageDeclaration } from './parse.ts';
import { pathProblem } from './paths.ts';
import { usesSpan } from './settings.ts';
import { keySpan, type Node, nodeAt } from './source.ts';
import type { InputSpec, Json } from './stage.ts';
import { suggest } from './suggest.ts';
import { evaluateOrReport } from './template.ts';

/** An artifact of a stage, found by its name. `span` is where it is written. */
interface Reference {
  readonly producer: ExpandedStage;
  readonly artifact: string;
  readonly span: Span;
}

/** What an input's entry says, its names resolved. */
type Source =
  | { readonly kind: 'one'; readonly from: Reference; readonly where: Combination }
  | { readonly kind: 'all'; readonly from: readonly Reference[]; readonly where: Combination }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'nothing' };

type Links = Pick<Task, 'inputs' | 'needs'>;

/** The stages that can be referred to; null for one that exists but is wrong, so that what refers to it is let pass. */
export type StageTable = ReadonlyMap<string, ExpandedStage | null>;

/**
 * Prepares the links of a stage.
 * @returns the links of one instance, or null when something in them is wrong, which was reported
 */
export function stageLinks(
  stage: ExpandedStage,
  stages: StageTable,
  root: string,
  params: Scope['params'],
  diagnostics: DiagnosticList,
): (instance: Instance) => Links | null {
  return new Linker(stage, stages, root, params ?? {}, diagnostics).prepare();
}

/**
 * Finds `STAGE.ARTIFACT`.
 * @returns null when there is none, which was reported, or when its stage is wrong, which was reported elsewhere
 */
export function findArtifact(
  text: Json,
  span: Span,
  stages: StageTable,
  diagnostics: DiagnosticList,
): Reference | null {
  const match = typeof text === 'string' ? /^([^./\s]+)\.([^./\s]+)$/.exec(text) : null;
  if (match === null) {
    const said = typeof text === 'string' ? `"${text}" is` : `${typeName(text)} is`;
    const stage = typeof text === 'string' ? stages.get(text) : undefined;
    const artifacts = [...(stage?.artifacts ?? [])].map((artifact) => `${text}.${artifact}`);
    const form = String(text).includes('/')
      ? `a file of the project is written { file: ${String(text)} }`
      : 'write STAGE.ARTIFACT, such as train.model';
    const hint = artifacts.length > 0 ? `write ${artifacts.join(' or ')}` : form;
    diagnostics.report(span, `${said} not an artifact`, hint);
    return null;
  }
  const [, name, artifact] = match as unknown as [string, string, string];
  const producer = findStage(name, span, stages, diagnostics);
  if (producer === null) return null;
  if (!producer.artifacts.has(artifact)) {
    diagnostics.report(
      span,
      `${name} has no artifact "${artifact}"`,
      suggest(artifact, producer.artifacts, `artifacts of ${name}`),
    );
    return null;
  }
  return { producer, artifact, span };
}

/**
 * Checks the names that a stage refers to under `in:` and `needs:`, where its module or its matrix is wrong and it cannot be
 * joined: so that one look at the file finds both. An input that depends on the matrix is let pass.
 */
export function checkReferences(
  { inputs, needs }: StageDeclaration,
  stages: StageTable,
  params: Scope['params'],
  diagnostics: DiagnosticList,
): void {
  for (const { value: template } of inputs.values()) {
    if (template.roots.has('matrix')) continue;
    const value = evaluateOrReport(template, { params: params ?? {} }, diagnostics);
    const { node } = template;
    if (typeof value === 'string') findArtifact(value, node.span, stages, diagnostics);
    else if (value !== undefined && value !== null && typeof value === 'object' && !Array.isArray(value)) {
      const { from, all } = value;
      if (from !== undefined) findArtifact(from, nodeAt(node, ['from']).span, stages, diagnostics);
      if (Array.isArray(all)) {
        for (const [at, text] of all.entries())
          findArtifact(text, nodeAt(node, ['all', String(at)]).span, stages, diagnostics);
      } else if (all !== undefined) findArtifact(all, nodeAt(node, ['all']).span, stages, diagnostics);
    }
  }
  for (const { value, span } of needs) findStage(String(value), span, stages, diagnostics);
}

/** @returns the stage; null when it is wrong, which was reported elsewhere, or there is none, which is reported here. */
function findStage(name: string, span: Span, stages: StageTable, diagnostics: DiagnosticList): ExpandedStage | null {
  const stage = stages.get(name);
  if (stage === undefined) diagnostics.report(span, `unknown stage "${name}"`, suggest(name, stages.keys(), 'stages'));
  return stage ?? null;
}

class Linker {
  readonly #stage: ExpandedStage;
  readonly #stages: StageTable;
  readonly #root: string;
  readonly #params: NonNullable<Scope['params']>;
  readonly #diagnostics: DiagnosticList;

  constructor(
    stage: ExpandedStage,
    stages: StageTable,
    root: string,
    params: NonNullable<Scope['params']>,
    diagnostics: DiagnosticList,
  ) {
    this.#stage = stage;
    this.#stages = stages;
    this.#root = root;
    this.#params = params;
    this.#diagnostics = diagnostics;
  }

  prepare(): (instance: Instance) => Links | null {
    const specs = this.#stage.module?.interface.inputs ?? null;
    if (specs !== null) this.#checkNames(specs);
    const inputs = [...this.#stage.declaration.inputs].map(([name, entry]) => ({
      name,
      spec: specs?.[name] ?? null,
      sourceOf: this.#reader(name, entry, specs?.[name] ?? null),
    }));
    const lineages = Object.keys(specs ?? {}).filter((name) => specs![name]!.lineage === true);
    const needs = this.#needs();
    return (instance) => {
      const refs: Record<string, InputRef> = {};
      for (const { name, spec, sourceOf } of inputs) {
        const source = sourceOf(instance);
        if (source === null) return null;
        if (source.kind === 'nothing') {
          if (spec !== null && spec.optional !== true) {
            const { span } = this.#stage.declaration.inputs.get(name)!.value.node;
            this.#diagnostics.report(
              span,
              `${instance.id} needs the input "${name}", which is null here`,
              spec.description,
            );
            return null;
          }
          continue;
        }
        const ref = this.#join(instance, source);
        if (ref === null) return null;
        refs[name] = ref;
      }
      for (const name of lineages) refs[name] = { kind: 'lineage' };
      const before = needs.flatMap(({ producer, span }) => this.#matching(instance, producer, {}, span) ?? []);
      return { inputs: refs, needs: before.map(({ id }) => id) };
    };
  }

  /** Compares the names under `in:` with those that the stage module declares. */
  #checkNames(specs: Readonly<Record<string, InputSpec>>): void {
    const { declaration, module } = this.#stage;
    for (const [name, { key }] of declaration.inputs) {
      if (specs[name]?.lineage === true) {
        const message = `the input "${name}" of ${module!.name} is filled in by pipe`;
        this.#diagnostics.report(key, message, 'leave it out: it holds the records behind the other inputs');
      }
      if (Object.hasOwn(specs, name)) continue;
      this.#diagnostics.report(
        key,
        `${module!.name} has no input "${name}"`,
        suggest(name, Object.keys(specs), 'inputs'),
      );
    }
    for (const [name, spec] of Object.entries(specs)) {
      if (spec.optional === true || spec.lineage === true || declaration.inputs.has(name)) continue;
      const form = spec.many === true ? '{ all: STAGE.ARTIFACT }' : 'STAGE.ARTIFACT';
      this.#diagnostics.report(
        usesSpan(declaration),
        `${module!.name} needs the input "${name}": ${spec.description}`,
        `add in: { ${name}: ${form} }`,
      );
    }
  }

  #needs(): readonly { readonly producer: ExpandedStage; readonly span: Span }[] {
    const found: { producer: ExpandedStage; span: Span }[] = [];
    for (const { value, span } of this.#stage.declaration.needs) {
      const producer = findStage(String(value), span, this.#stages, this.#diagnostics);
      if (producer !== null) found.push({ producer, span });
    }
    return found;
  }

  /** Reads an input's entry for each instance; once, if it does not look at the matrix. */
  #reader(name: string, { value }: Entry, spec: InputSpec | null): (instance: Instance) => Source | null {
    const known = new Map<string, Source | null>();
    const read = ({ matrix }: Instance): Source | null => {
      const result = evaluateOrReport(value, { params: this.#params, matrix }, this.#diagnostics);
      if (result === undefined) return null;
      const text = JSON.stringify(result);
      if (!known.has(text)) known.set(text, this.#source(name, result, value.node, spec));
      return known.get(text)!;
    };
    if (value.roots.has('matrix') || this.#stage.instances.length === 0) return read;
    const only = read(this.#stage.instances[0]!);
    return () => only;
  }

  #source(name: string, value: Json, node: Node, spec: InputSpec | null): Source | null {
    if (value === null) return { kind: 'nothing' };
    if (typeof value === 'string') return this.#one(name, value, node, {}, spec);
    const wrong = (message: string): null => {
      this.#diagnostics.report(
        node.span,
        message,
        'write STAGE.ARTIFACT, { all: STAGE.ARTIFACT }, { from: STAGE.ARTIFACT, where: { AXIS: VALUE } } or { file: PATH }',
      );
      return null;
    };
    if (typeof value !== 'object' || Array.isArray(value))
      return wrong(`the input "${name}" cannot be ${typeName(value)}`);
    const { from, all, file, where = {}, ...others } = value;
    if (Object.keys(others).length > 0 || [from, all, file].filter((item) => item !== undefined).length !== 1) {
      return wrong(`the input "${name}" must have one of "from", "all" and "file"`);
    }
    if (where === null || typeof where !== 'object' || Array.isArray(where))
      return wrong('"where" must be a map of axes');
    if (from !== undefined) return this.#one(name, from, nodeAt(node, ['from']), where, spec, nodeAt(node, ['where']));
    if (all !== undefined) return this.#all(name, all, nodeAt(node, ['all']), where, spec, nodeAt(node, ['where']));
    const fileNode = nodeAt(node, ['file']);
    const problem = typeof file === 'string' ? pathProblem(file) : `${typeName(file!)} is not a path`;
    if (problem !== null) {
      this.#diagnostics.report(
        fileNode.span,
        `the file must lie inside the project: ${problem}`,
        "write a path relative to the project's root",
      );
      return null;
    }
    return { kind: 'file', path: resolve(this.#root, file as string) };
  }

  #one(
    name: string,
    text: Json,
    node: Node,
    where: Combination,
    spec: InputSpec | null,
    whereNode: Node = node,
  ): Source | null {
    const from = findArtifact(text, node.span, this.#stages, this.#diagnostics);
    if (from === null || !this.#checkWhere(where, [from], whereNode)) return null;
    if (spec?.many === true) {
      this.#diagnostics.report(node.span, `the input "${name}" takes a list`, `write { all: ${String(text)} }`);
      return null;
    }
    const { producer } = from;
    const lacking = producer.axes.filter((axis) => !this.#stage.axes.includes(axis) && !Object.hasOwn(where, axis));
    if (lacking.length > 0) {
      const { name: own } = this.#stage.declaration;
      const axes = lacking.map((axis) => `"${axis}"`).join(', ');
      this.#diagnostics.report(
        node.span,
        `${producer.declaration.name} has ${lacking.length === 1 ? 'the axis' : 'the axes'} ${axes}, which ${own} lacks`,
        `for the list over ${axes} write { all: ${String(text)} }; for one value, { from: ${String(text)}, where: { ${lacking[0]}: VALUE } }`,
      );
      return null;
    }
    return { kind: 'one', from, where };
  }

  #all(
    name: string,
    value: Json,
    node: Node,
    where: Combination,
    spec: InputSpec | null,
    whereNode: Node,
  ): Source | null {
    const texts = Array.isArray(value) ? value : [value];
    const found = texts.map((text, at) => {
      const { span } = Array.isArray(value) ? nodeAt(node, [String(at)]) : node;
      return findArtifact(text, span, this.#stages, this.#diagnostics);
    });
    const from = found.filter((reference) => reference !== null);
    if (from.length < texts.length || !this.#checkWhere(where, from, whereNode)) return null;
    if (spec !== null && spec.many !== true) {
      this.#diagnostics.report(
        node.span,
        `the input "${name}" takes one artifact, not a list`,
        `write ${String(texts[0])}`,
      );
      return null;
    }
    return { kind: 'all', from, where };
  }

  #checkWhere(where: Combination, from: readonly Reference[], node: Node): boolean {
    const known = [...new Set(from.flatMap(({ producer }) => producer.axes))];
    for (const axis of Object.keys(where)) {
      if (known.includes(axis)) continue;
      const names = from.map(({ producer }) => producer.declaration.name).join(', ');
      this.#diagnostics.report(keySpan(node, axis), `${names} has no axis "${axis}"`, suggest(axis, known, 'axes'));
      return false;
    }
    return true;
  }

  #join(instance: Instance, source: Exclude<Source, { kind: 'nothing' }>): InputRef | null {
    if (source.kind === 'file') return source;
    if (source.kind === 'one') {
      const { producer, artifact, span } = source.from;
      const matching = this.#matching(instance, producer, source.where, span);
      if (matching === null) return null;
      if (matching.length === 1) return { kind: 'artifact', task: matching[0]!.id, artifact };
      const names = matching.slice(0, 3).map(({ id }) => id);
      this.#diagnostics.report(
        span,
        `${instance.id} could be joined to ${names.join(' or ')}`,
        'tell them apart by an axis that both stages have, or by { from, where }',
      );
      return null;
    }
    const members: FanInMember[] = [];
    for (const { producer, artifact, span } of source.from) {
      const matching = this.#matching(instance, producer, source.where, span);
      if (matching === null) return null;
      for (const { id, axes } of matching) members.push({ task: id, artifact, axes });
    }
    return { kind: 'all', members };
  }

  /** @returns the producer's instances that join, at least one; null when there is none, which was reported. */
  #matching(instance: Instance, producer: ExpandedStage, where: Combination, span: Span): readonly Instance[] | null {
    const axes: Combination = { ...instance.axes, ...where };
    const matching = producer.index.matching(axes);
    if (matching.length > 0) return matching;
    const name = producer.declaration.name;
    const shared = producer.axes.filter((axis) => Object.hasOwn(axes, axis));
    const valuesOf = (axis: string): Json[] =>
      producer.instances.flatMap((other) => (Object.hasOwn(other.axes, axis) ? [other.axes[axis]!] : []));
    const missing = shared.find((axis) => !valuesOf(axis).some((value) => isEqual(value, axes[axis]!)));
    const wanted = Object.fromEntries((missing === undefined ? shared : [missing]).map((axis) => [axis, axes[axis]!]));
    const pairs = taskId('', wanted).slice(1, -1).replaceAll(',', ', ');
    const hint =
      missing === undefined
        ? `the matrix of ${name} has each of these values, but not together`
        : `${missing} of ${name}: ${[...new Set(valuesOf(missing).map((value) => taskId('', { v: value }).slice(3, -1)))].join(', ')}`;
    const label =
      missing === undefined ? `the axes ${shared.join(', ')} do not join` : `the axis "${missing}" does not join`;
    this.#diagnostics.report(span, `${label}: ${instance.id} needs ${name} with ${pairs}, which there is not`, hint);
    return null;
  }
}
