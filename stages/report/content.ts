/** What a report says, before it is a page: read from results and figures, the same for HTML and Markdown. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Json, StageError } from '../../engine/stage.ts';
import { readJson } from '../../model/json.ts';
import type { Results } from '../compare/results.ts';
import type { FigureEntry } from '../plot/figure.ts';
import { readResults } from '../shared/results.ts';

export interface ReportFigure extends FigureEntry {
  readonly svg: string;
}

/** What a pipeline was about, in the words of its file. */
export interface Subject {
  readonly title: string;
  readonly question: string;
  /** Name and value of what was run: model, data, steps. */
  readonly facts: readonly (readonly [string, string])[];
  /** Limits of the study besides those that the results name. */
  readonly limits: readonly string[];
}

export interface Report extends Subject {
  readonly results: Results;
  readonly figures: readonly ReportFigure[];
}

/** @throws StageError when the results are not what compare writes, or the figures folder names a file that it does not hold. */
export function readReport(results: string, figures: string, subject: Subject): Report {
  const entries = readJson(join(figures, 'figures.json')) as FigureEntry[];
  return {
    ...subject,
    results: readResults(results),
    figures: entries.map((entry) => ({ ...entry, svg: readSvg(figures, entry.name) })),
  };
}

/** A parameter's value as a person writes it: lists with commas, nothing quoted. */
export function factText(value: Json): string {
  if (Array.isArray(value)) return value.map(factText).join(', ');
  if (value !== null && typeof value === 'object') {
    return Object.entries(value)
      .map(([name, inner]) => `${name} ${factText(inner)}`)
      .join(', ');
  }
  return value === null ? 'none' : String(value);
}

/** What was compared, from the results themselves. */
export function comparedFacts({
  comparison,
  configurations,
  sensitivity,
}: Results): readonly (readonly [string, string])[] {
  const facts: [string, string][] = [];
  if (configurations.length > 0) {
    const variants = [...new Set(configurations.map((one) => one.variant))].join(', ');
    const replicates = [...new Set(configurations.flatMap((one) => one.pairs.map((pair) => pair.replicate)))];
    facts.push(['Compared', `${comparison.axis}: ${variants} against ${comparison.reference}`]);
    facts.push(['Configurations', [...new Set(configurations.map((one) => one.label))].join('; ')]);
    facts.push([`Repeated over ${comparison.replicate}`, replicates.join(', ')]);
  }
  if (sensitivity !== null) {
    const { families, layers, reference } = sensitivity;
    facts.push(['Families quantized one at a time', families.join(', ')]);
    facts.push(['Layers', [...layers, sensitivity.whole].join(', ')]);
    facts.push(['Held-out examples', `${reference.examples} (${reference.tokens} response tokens)`]);
  }
  return facts;
}

function readSvg(folder: string, name: string): string {
  if (!/^\w+$/.test(name))
    throw new StageError(`figures.json names a figure "${name}"; names are letters, digits and _.`);
  try {
    return readFileSync(join(folder, `${name}.svg`), 'utf8');
  } catch (error) {
    throw new StageError(`figures.json names ${name}, and ${name}.svg cannot be read: ${(error as Error).message}`);
  }
}
