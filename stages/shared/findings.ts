/** What an analysis found: verdicts, tables and limits, as the stages that show them read it. */
import { writeJson } from '../../model/json.ts';
import type { Table, Verdict } from '../compare/results.ts';
import { writeTables } from './tables_folder.ts';

export interface Findings {
  readonly format: 2;
  /** Whose findings these are: `quantization-impact`. */
  readonly subject: string;
  readonly verdicts: readonly Verdict[];
  readonly tables: readonly Table[];
  /** What these data can and cannot show, one sentence each. */
  readonly limits: readonly string[];
}

/** Writes findings as JSON, with whatever else a subject has to say, and their tables as files. */
export function writeFindings<F extends Findings>(
  outputs: { readonly results: string; readonly tables: string },
  findings: F,
): void {
  writeJson(outputs.results, findings);
  writeTables(outputs.tables, findings.tables);
}
