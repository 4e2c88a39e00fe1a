/** Stage: the verdicts of several analyses as one table. */
import { defineStage, StageError } from '../engine/stage.ts';
import { readJson } from '../model/json.ts';
import { axesText } from './compare/inputs.ts';
import type { Results, Table } from './compare/results.ts';
import { text } from './shared/columns.ts';
import { readFields, reading } from './shared/fields.ts';
import { type Findings, writeFindings } from './shared/findings.ts';

export default defineStage({
  description: 'Puts the verdicts of several analyses into one table.',
  params: {},
  inputs: { results: { many: true, description: 'Results with verdicts, in the order of the table.' } },
  outputs: {
    results: { path: 'results.json', description: 'The table; the verdicts stay with their analyses.' },
    tables: { path: 'tables', description: 'The table as CSV and Markdown.' },
  },
  run({ inputs, outputs, log }) {
    const verdicts = inputs.results.flatMap(({ path, axes }) => {
      const whose = `the results ${axesText(axes)}`;
      if (!readFields(path, whose).has('verdicts'))
        throw new StageError(`${path} has no verdicts: give the results of an analysis`);
      return (reading(whose, () => readJson(path)) as Findings | Results).verdicts;
    });
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
