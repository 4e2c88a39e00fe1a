/** `pipe stages`: what stage modules there are, and what each takes and makes. */
import { dirname, join, relative } from 'node:path';
import { UsageError } from '../engine/errors.ts';
import type { ResolvedStage } from '../engine/graph.ts';
import type { Project } from '../engine/project.ts';
import type { ParamSpec } from '../engine/stage.ts';
import { suggest } from '../engine/suggest.ts';
import { withWorkspace } from './request.ts';
import { columns, paint, print, printJson, wrap } from './text.ts';

export interface StagesOptions {
  readonly json?: true;
}

/** Lists all stage modules, or describes one. @throws UsageError when there is none of that name. */
export function stages(name: string | undefined, options: StagesOptions): Promise<number> {
  return withWorkspace(async ({ stages: modules, project }) => {
    const all = await modules.list();
    if (name === undefined) {
      if (options.json) printJson(all);
      else printListings(all, project);
      return 0;
    }
    const stage = all.find((candidate) => candidate.name === name);
    if (stage === undefined) {
      const names = all.map((candidate) => candidate.name);
      throw new UsageError(`there is no stage module ${name}\n  ${suggest(name, names, 'stage modules')}`);
    }
    if (options.json) printJson(stage);
    else print(description(stage, project.root));
    return 0;
  });
}

/** The project's own modules first: among those that pipe brings they would be hard to find. */
function printListings(all: readonly ResolvedStage[], { root, packageRoot }: Project): void {
  const isOwn = ({ module }: ResolvedStage) => dirname(module) === join(root, 'stages');
  const own = root === packageRoot ? [] : all.filter(isOwn);
  if (own.length > 0) print(['of this project', ...listing(own), '', 'that pipe brings'].join('\n'));
  for (const line of listing(all.filter((stage) => !own.includes(stage)))) print(line);
}

function listing(all: readonly ResolvedStage[]): readonly string[] {
  const lines: string[] = [];
  for (const { name, interface: declared } of all) {
    lines.push(paint('bold', name), wrap(declared.description, columns(), '    '));
    const parameters = Object.keys(declared.params).join(', ');
    if (parameters !== '') lines.push(wrap(`with ${parameters}`, columns(), '    '));
    const inputs = Object.entries(declared.inputs)
      .filter(([, { lineage }]) => lineage !== true)
      .map(([input, { many, optional }]) => `${input}${many ? '[]' : ''}${optional ? '?' : ''}`);
    const outputs = Object.keys(declared.outputs).join(', ');
    lines.push(wrap(`${inputs.join(', ')} -> ${outputs}`.trim(), columns(), '    '));
  }
  return lines;
}

function description({ name, module, interface: declared }: ResolvedStage, root: string): string {
  const lines = [paint('bold', name), wrap(declared.description, columns(), '  '), `  ${relative(root, module)}`];
  if (declared.accelerated === true) lines.push('  computes on a GPU, where there is one');
  const { params, inputs, outputs } = declared;
  const longest = Math.max(...[params, inputs, outputs].flatMap(Object.keys).map(({ length }) => length));
  const section = <S extends { readonly description: string }>(
    title: string,
    specs: Readonly<Record<string, S>>,
    detailOf: (spec: S) => string,
  ): void => {
    const entries = Object.entries(specs);
    if (entries.length > 0) lines.push('', title);
    for (const [term, spec] of entries) {
      const indent = ' '.repeat(longest + 4);
      const [first, ...rest] = wrap(spec.description, columns(), indent).split('\n');
      lines.push(`  ${term.padEnd(longest)}  ${first!.trimStart()}`, ...rest);
      for (const line of wrap(detailOf(spec), columns(), indent).split('\n')) lines.push(paint('dim', line));
    }
  };
  section('with', params, (spec) => `${typeText(spec)}, ${defaultText(spec)}`);
  section('in', inputs, ({ many, optional, lineage }) =>
    lineage ? 'filled in by pipe' : `${many ? 'a list' : 'one'}${optional ? ', optional' : ''}`,
  );
  section('out', outputs, ({ path }) => path);
  return lines.join('\n');
}

function typeText(spec: Omit<ParamSpec, 'description'>): string {
  if (spec.enum !== undefined) return spec.enum.join(' | ');
  const items = spec.items === undefined ? '' : ` of ${typeText(spec.items)}`;
  const bounds = [
    spec.minimum === undefined ? null : `>= ${spec.minimum}`,
    spec.exclusiveMinimum === undefined ? null : `> ${spec.exclusiveMinimum}`,
    spec.maximum === undefined ? null : `<= ${spec.maximum}`,
  ].filter((bound) => bound !== null);
  const base = spec.format === 'source' ? 'path or URL' : spec.type;
  return `${base}${items}${bounds.length === 0 ? '' : ` ${bounds.join(', ')}`}`;
}

function defaultText({ default: value }: ParamSpec): string {
  return value === undefined ? 'required' : `default ${JSON.stringify(value)}`;
}
