/** Stage: the verdicts of several analyses as one table, and as another what their numbers warn of. */
import { defineStage, type Json } from '../engine/stage.ts';
import { axesText } from './compare/inputs.ts';
import type { Table } from './compare/results.ts';
import { text } from './shared/columns.ts';
import { type FailureMode, failureModes } from './shared/failures.ts';
import { writeFindings } from './shared/findings.ts';
import { readStudy, type Study, subjectTitle } from './shared/study.ts';

/** An analysis, and the axis values of its task. */
interface Analysis {
  readonly study: Study;
  readonly axes: Readonly<Record<string, Json>>;
}

export default defineStage({
  description: 'Puts the verdicts of several analyses into one table, and the failure modes found into another.',
  params: {},
  inputs: { results: { many: true, description: 'Results of stages that compare, in the order of the tables.' } },
  outputs: {
    results: { path: 'results.json', description: 'The tables; the verdicts stay with their analyses.' },
    tables: { path: 'tables', description: 'Verdicts and failure modes as CSV and Markdown.' },
  },
  run({ inputs, outputs, log }) {
    const analyses = inputs.results.map(({ path, axes }): Analysis => ({ study: readStudy(path), axes }));
    const tables = [verdictsTable(analyses), failuresTable(analyses)];
    writeFindings(outputs, { format: 2, subject: 'diagnosis', verdicts: [], tables, limits: [] });
    for (const { hypothesis, outcome } of analyses.flatMap(({ study }) => study.verdicts))
      log(`${outcome}: ${hypothesis}`);
  },
});

function verdictsTable(analyses: readonly Analysis[]): Table {
  return {
    name: 'verdicts',
    title: 'The verdict on each hypothesis',
    note: 'Each by a rule that its pipeline file states, fixed before the numbers.',
    columns: [
      text('hypothesis', 'Hypothesis'),
      text('measure', 'Judged on'),
      text('outcome', 'Verdict'),
      text('answer', 'Answer'),
      text('floor', 'Noise floor'),
      text('rule', 'Rule'),
    ],
    rows: analyses
      .flatMap(({ study }) => study.verdicts)
      .map(({ hypothesis, measure, outcome, answer, floor, rule }) => [
        hypothesis,
        measure,
        outcome,
        answer,
        floor,
        rule,
      ]),
  };
}

function failuresTable(analyses: readonly Analysis[]): Table {
  const found = analyses.flatMap(({ study, axes }) => failureModes([study]).map((mode) => ({ mode, axes })));
  return {
    name: 'failure_modes',
    title: 'What goes wrong, or would mislead whoever did not look for it',
    note: 'Found by rules over the tables that are named.',
    columns: [
      text('symptom', 'Symptom'),
      text('cause', 'Cause'),
      text('evidence', 'Evidence'),
      text('mitigation', 'Mitigation'),
      text('found_in', 'Found in'),
    ],
    rows: found.map(({ mode, axes }) => [
      mode.symptom,
      mode.cause,
      mode.evidence,
      mode.mitigation,
      placeOf(mode, axes),
    ]),
  };
}

function placeOf({ subject, table }: FailureMode, axes: Analysis['axes']): string {
  const which = Object.keys(axes).length === 0 ? '' : ` (${axesText(axes)})`;
  return `${subjectTitle(subject)}${which}: ${table}`;
}
