/** Stage: the verdicts of several analyses as one table. */
import { defineStage } from '../engine/stage.ts';
import type { Table } from './compare/results.ts';
import { text } from './shared/columns.ts';
import { writeFindings } from './shared/findings.ts';
import { readStudy } from './shared/study.ts';

export default defineStage({
  description: 'Puts the verdicts of several analyses into one table.',
  params: {},
  inputs: { results: { many: true, description: 'Results with verdicts, in the order of the table.' } },
  outputs: {
    results: { path: 'results.json', description: 'The table; the verdicts stay with their analyses.' },
    tables: { path: 'tables', description: 'The table as CSV and Markdown.' },
  },
  run({ inputs, outputs, log }) {
    const verdicts = inputs.results.flatMap(({ path }) => readStudy(path).verdicts);
    const table: Table = {
      name: 'verdicts',
      title: 'The verdict on each hypothesis',
      note: 'Each by a rule that its pipeline file states, fixed before the numbers.',
      columns: [
        text('hypothesis', 'Hypothesis'),
        text('measure', 'Judged on'),
        text('outcome', 'Verdict'),
        text('answer', 'Answer'),
        text('rule', 'Rule'),
      ],
      rows: verdicts.map(({ hypothesis, measure, outcome, answer, rule }) => [
        hypothesis,
        measure,
        outcome,
        answer,
        rule,
      ]),
    };
    writeFindings(outputs, { format: 2, subject: 'diagnosis', verdicts: [], tables: [table], limits: [] });
    for (const { hypothesis, outcome } of verdicts) log(`${outcome}: ${hypothesis}`);
  },
});
