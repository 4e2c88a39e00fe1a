/** `pipe stages`: what stage modules there are, and what each takes and makes. */
import { relative } from 'node:path';
import { UsageError } from '../engine/errors.ts';
import type { ResolvedStage } from '../engine/graph.ts';
import type { ParamSpec } from '../engine/stage.ts';
import { suggest } from '../engine/suggest.ts';
import { withWorkspace } from './request.ts';
import { columns, paint, print, printJson, shorten, table, wrap } from './text.ts';

export interface StagesOptions {
  readonly json?: true;
}

/** Lists all stage modules, or describes one. @throws UsageError when there is none of that name. */
export function stages(name: string | undefined, options: StagesOptions): Promise<number> {
  return withWorkspace(async ({ stages: modules, project }) => {
    const all = await modules.list();
    if (name === undefined) {
      if (options.json) printJson(all);
      else for (const line of listing(all)) print(line);
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

function listing(all: readonly ResolvedStage[]): readonly string[] {
  const lines: string[] = [];
  for (const { name, interface: declared } of all) {
    lines.push(`${paint('bold', name)}  ${declared.description}`);
    const parameters = Object.keys(declared.params).join(', ');
    if (parameters !== '') lines.push(wrap(`with ${parameters}`, columns(), '    '));
    const inputs = Object.entries(declared.inputs).map(
      ([input, { many, optional }]) => `${input}${many ? '[]' : ''}${optional ? '?' : ''}`,
    );
    const outputs = Object.keys(declared.outputs).join(', ');
    lines.push(`    ${inputs.length === 0 ? '' : `${inputs.join(', ')} `}-> ${outputs}`);
  }
  return lines;
}

function description({ name, module, interface: declared }: ResolvedStage, root: string): string {
  const lines = [`${paint('bold', name)}  ${declared.description}`, `  ${relative(root, module)}`];
  const section = (title: string, rows: readonly (readonly string[])[]): void => {
    if (rows.length === 0) return;
    lines.push('', title, ...table(rows).map((line) => fitLine(line)));
  };
  section(
    'with',
    Object.entries(declared.params).map(([param, spec]) => [
      param,
      typeText(spec),
      defaultText(spec),
      spec.description,
    ]),
  );
  section(
    'in',
    Object.entries(declared.inputs).map(([input, spec]) => [
      input,
      [spec.many ? 'list' : 'one', ...(spec.optional ? ['optional'] : [])].join(', '),
      spec.description,
    ]),
  );
  section(
    'out',
    Object.entries(declared.outputs).map(([output, spec]) => [output, spec.path, spec.description]),
  );
  return lines.join('\n');
}

/** A line of a table, its last column continued below where it is too long for the screen. */
function fitLine(line: string): string {
  const width = columns();
  if (line.length <= width) return line;
  const start = line.lastIndexOf('  ', width) + 2;
  // A column that leaves no room is better cut than continued letter by letter.
  if (start < 3 || start > width - 20) return shorten(line, width);
  const [first, ...rest] = wrap(line.slice(start), width, ' '.repeat(start)).split('\n');
  return [line.slice(0, start) + first!.trimStart(), ...rest].join('\n');
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
  return value === undefined ? 'required' : `= ${JSON.stringify(value)}`;
}
