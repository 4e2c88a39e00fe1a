/** The results that a report is made of: those of a comparison (format 1) and of the study's other questions (format 2). */
import { StageError } from '../../engine/stage.ts';
import { FormatError } from '../../model/format_error.ts';
import { readJson } from '../../model/json.ts';
import type { Results, Table, Verdict } from '../compare/results.ts';
import type { Findings } from './findings.ts';

/** What every study gives, whatever its question. */
export interface Study {
  /** What it is about, in a word or two: `rank-threshold`. */
  readonly subject: string;
  readonly verdicts: readonly Verdict[];
  readonly tables: readonly Table[];
  readonly limits: readonly string[];
  /** What only a comparison has. */
  readonly comparison: Results | null;
  /** What only a study of ranks has: the threshold, and r*, the rank from which on it is met. */
  readonly rankRule: { readonly threshold: number; readonly star: number | null } | null;
}

/** @throws StageError when the file is not JSON, or no results of a study. */
export function readStudy(path: string): Study {
  const found = readObject(path);
  if (found.format === 1) {
    const comparison = found as unknown as Results;
    const { verdicts, tables, limits } = comparison;
    return { subject: subjectOf(comparison), verdicts, tables, limits, comparison, rankRule: null };
  }
  if (found.format === 2) {
    const { subject, verdicts, tables, limits } = found as unknown as Findings;
    const { threshold, r_star: star } = found;
    const isRank = typeof threshold === 'number' && (star === null || typeof star === 'number');
    return { subject, verdicts, tables, limits, comparison: null, rankRule: isRank ? { threshold, star } : null };
  }
  throw new StageError(
    `${path} holds no results: "format" is ${JSON.stringify(found.format)}, not 1 or 2. Give the artifact \`results\` of a stage that compares.`,
  );
}

function subjectOf({ sensitivity, comparison }: Results): string {
  return sensitivity === null ? comparison.axis : 'layer-sensitivity';
}

const titles: Readonly<Record<string, string>> = {
  'quantization-impact': 'What quantization changes',
  'layer-sensitivity': 'Which matrices are sensitive',
  'rank-threshold': 'How much rank is needed',
  adapters: 'The published adapters',
  diagnosis: 'The verdicts together',
};

/** A subject as a heading. */
export function subjectTitle(subject: string): string {
  const words = subject.replaceAll('-', ' ');
  return titles[subject] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

function readObject(path: string): Readonly<Record<string, unknown>> {
  try {
    return Object(readJson(path)) as Readonly<Record<string, unknown>>;
  } catch (error) {
    if (error instanceof FormatError) throw new StageError(error.message);
    throw error;
  }
}
