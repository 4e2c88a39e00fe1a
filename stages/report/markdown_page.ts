/** The report in Markdown: the same content, its figures and tables as links to the files beside it. */
import { escapeMarkdown, markdownRows } from '../shared/markdown.ts';
import { hypothesisText, numberOf, type Report, type ReportStudy, type ReportVerdict } from './content.ts';

/** Where the published figures and tables lie, relative to the page; with several studies, in a folder of each below. */
export interface Links {
  readonly figures: string;
  readonly tables: string;
}

/** The whole page. Long tables are left to their files. */
export function markdownPage(report: Report, links: Links): string {
  const { studies, verdicts, failures, figures } = report;
  const folderOf = (study: ReportStudy | undefined) => (studies.length === 1 || !study ? '' : `/${study.subject}`);
  const tables = studies.flatMap((study) =>
    study.tables.map((table) => ({ table, file: `${links.tables}${folderOf(study)}/${table.name}` })),
  );
  const shown = tables.filter(({ table }) => table.rows.length <= 12);
  const linked = tables.filter((one) => !shown.includes(one));
  const parts = [
    `# ${escapeMarkdown(report.title)}`,
    escapeMarkdown(report.question),
    ...(verdicts.length === 0 ? ['No hypothesis was judged: these results only describe.'] : verdicts.map(verdictText)),
    ...(failures.length === 0 ? [] : ['## What goes wrong']),
    ...failures.map(
      ({ symptom, cause, evidence, mitigation }) =>
        `### ${escapeMarkdown(symptom)}\n\n${bullets([`Cause: ${cause}`, `Evidence: ${evidence}`, `Mitigation: ${mitigation}`])}`,
    ),
    '## Tables',
    ...shown.map(
      ({ table, file }) =>
        `### ${escapeMarkdown(table.title)}\n\n${markdownRows(table)}\n\n${escapeMarkdown(table.note)} ([CSV](${target(`${file}.csv`)}))`,
    ),
    ...linked.map(
      ({ table, file }) =>
        `- [${escapeMarkdown(table.title)}](${target(`${file}.md`)}), ${table.rows.length} rows ([CSV](${target(`${file}.csv`)}))`,
    ),
    '## Figures',
    ...(figures.length === 0 ? ['The results hold nothing to draw.'] : []),
    ...figures.map(({ name, title, alt, from }) => {
      const file = `${links.figures}${folderOf(studies.find((study) => study.from === from))}/${name}`;
      return `### ${escapeMarkdown(title)}\n\n![${escapeMarkdown(title)}](${target(`${file}.png`)})\n\n${escapeMarkdown(alt)} ([SVG](${target(`${file}.svg`)}))`;
    }),
    '## What was run',
    bullets(report.facts.map(([name, value]) => `${name}: ${value}`)),
    'The machine, the times, and the chain of artifacts behind every table are in the record of the run: `pipe lineage` with the path of a published file shows them.',
    '## What this can and cannot show',
    bullets(report.limits),
  ];
  return `${parts.join('\n\n')}\n`;
}

function verdictText(verdict: ReportVerdict): string {
  const { measure, outcome, answer, floor, rule, evidence } = verdict;
  const number = numberOf(verdict);
  return [
    `### ${number === '' ? 'By' : `${number}, by`} the ${escapeMarkdown(measure)}`,
    `**${outcome === 'partly' ? 'Partly supported' : outcome === 'supported' ? 'Supported' : 'Rejected'}: ${escapeMarkdown(hypothesisText(verdict))}**`,
    escapeMarkdown(answer),
    `Noise floor: ${escapeMarkdown(floor)}.`,
    bullets(evidence.map(({ label, value }) => `${label}: ${value}`)),
    `The rule, fixed before the numbers: ${escapeMarkdown(rule)}`,
  ].join('\n\n');
}

function bullets(lines: readonly string[]): string {
  return lines.map((line) => `- ${escapeMarkdown(line)}`).join('\n');
}

/** A relative address that a Markdown link can hold. */
function target(path: string): string {
  return encodeURI(path).replaceAll('(', '%28').replaceAll(')', '%29');
}
