/** What a report says, before it is a page: read from results, figures and records, the same for HTML and Markdown. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Json, type Member, StageError } from '../../engine/stage.ts';
import { readJson } from '../../model/json.ts';
import type { Verdict } from '../compare/results.ts';
import type { FigureEntry } from '../plot/figure.ts';
import { type FailureMode, failureModes } from '../shared/failures.ts';
import { readStudy, type Study, subjectTitle } from '../shared/study.ts';
import { type Lineage, readLineage } from './lineage.ts';
import { type Run, readRuns } from './runs.ts';

export interface ReportFigure extends FigureEntry {
  readonly svg: string;
  /** The Vega specification that the picture was drawn from, as JSON. */
  readonly vega: string | null;
  /** The record of the results that it shows. */
  readonly from: number | null;
}

/** A study with the record that its results come from. */
export interface ReportStudy extends Study {
  readonly title: string;
  readonly from: number | null;
}

/** A verdict with what it was judged from. */
export interface ReportVerdict extends Verdict {
  readonly from: number | null;
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
  readonly studies: readonly ReportStudy[];
  readonly verdicts: readonly ReportVerdict[];
  readonly figures: readonly ReportFigure[];
  readonly failures: readonly FailureMode[];
  readonly runs: readonly Run[];
  readonly lineage: Lineage;
}

/** The inputs of the stage, as the engine hands them over. */
export interface ReportInputs {
  readonly results: readonly Member[];
  readonly figures: readonly Member[];
  readonly summaries: readonly Member[];
  readonly curves: readonly Member[];
  readonly lineage: string;
}

/** @throws StageError when an input is not what its stage writes, or a figures folder names a file that it does not hold. */
export function readReport(inputs: ReportInputs, subject: Subject): Report {
  const lineage = readLineage(inputs.lineage);
  const studies = inputs.results.map(({ path }, i) => {
    const study = readStudy(path);
    return { ...study, title: subjectTitle(study.subject), from: lineage.madeBy('results', i) };
  });
  const verdicts = new Map<string, ReportVerdict>();
  for (const { verdicts: own, from } of studies) {
    for (const verdict of own) {
      const name = `${verdict.hypothesis}\n${verdict.measure}`;
      if (!verdicts.has(name)) verdicts.set(name, { ...verdict, from });
    }
  }
  const runs = readRuns(inputs.summaries, inputs.curves, lineage);
  const limits = [...subject.limits, ...(trainingLimit(lineage) ?? []), ...studies.flatMap((study) => study.limits)];
  return {
    ...subject,
    facts: [...subject.facts, ...studies.flatMap(comparedFacts)],
    limits: [...new Set(limits)],
    studies,
    verdicts: [...verdicts.values()].sort((a, b) => numberOf(a).localeCompare(numberOf(b))),
    figures: figuresOf(inputs.figures, lineage),
    failures: failureModes(studies),
    runs,
    lineage,
  };
}

/** `H2` of a hypothesis that begins with it; empty where it has no number. */
export function numberOf({ hypothesis }: Pick<Verdict, 'hypothesis'>): string {
  return /^H\d+\b/.exec(hypothesis)?.[0] ?? '';
}

/** A hypothesis without its number. */
export function hypothesisText({ hypothesis }: Pick<Verdict, 'hypothesis'>): string {
  const text = hypothesis.replace(/^H\d+\b[\s:.,–-]*/, '');
  return text.charAt(0).toUpperCase() + text.slice(1);
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

/** What was compared, from the results of a comparison. */
function comparedFacts({ comparison: results }: Study): readonly (readonly [string, string])[] {
  if (results === null) return [];
  const { comparison, configurations, sensitivity } = results;
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

/** What training of that length can and cannot show, from the parameters of the records that trained. */
function trainingLimit({ records }: Lineage): readonly string[] | null {
  const lengths = new Map<string, readonly [number, number]>();
  for (const { uses, params } of records) {
    const { steps, batch } = params;
    if (uses === 'train' && typeof steps === 'number' && typeof batch === 'number')
      lengths.set(`${steps} ${batch}`, [steps, batch]);
  }
  if (lengths.size === 0) return null;
  return [...lengths.values()].map(
    ([steps, batch]) =>
      `${steps} steps of ${batch} records show a model ${(steps * batch).toLocaleString('en-US')} examples. That can show which differences are larger than those between seeds, at that point of training. It cannot show where a full tuning would end, nor whether a difference would grow or vanish on the way there.`,
  );
}

function figuresOf(folders: readonly Member[], lineage: Lineage): readonly ReportFigure[] {
  const names = new Set<string>();
  return folders.flatMap(({ path }, i) => {
    const drawn = lineage.madeBy('figures', i);
    const from = drawn === null ? null : (lineage.records[drawn]!.inputs.results?.[0] ?? drawn);
    return (readJson(join(path, 'figures.json')) as FigureEntry[]).flatMap((entry) => {
      const svg = readSvg(path, entry.name);
      // Two questions may draw the same picture of the same runs.
      if (names.has(entry.name)) return [];
      names.add(entry.name);
      const vega = join(path, `${entry.name}.vega.json`);
      return [{ ...entry, svg, vega: existsSync(vega) ? readFileSync(vega, 'utf8') : null, from }];
    });
  });
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
