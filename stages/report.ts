/** Stage: writes the report of a comparison as one HTML page that needs nothing else, and as Markdown. */
import { writeFileSync } from 'node:fs';
import { defineStage } from '../engine/stage.ts';
import { factText, readReport } from './report/content.ts';
import { markdownPage } from './report/markdown_page.ts';
import { htmlPage } from './report/page.ts';

export default defineStage({
  description: 'Writes the report of a comparison as one self-contained HTML page and as Markdown.',
  params: {
    title: { type: 'string', description: 'Headline of the report.' },
    question: { type: 'string', default: '', description: 'What was asked, in a sentence.' },
    facts: {
      type: 'object',
      default: {},
      description: 'What was run, name to value: model, data, steps. Shown as given.',
    },
    limits: {
      type: 'array',
      items: { type: 'string' },
      default: [],
      description: 'What this study cannot show, besides what the results say themselves.',
    },
    figures_path: {
      type: 'string',
      default: 'figures',
      description: 'Where figures are published, relative to the Markdown page.',
    },
    tables_path: {
      type: 'string',
      default: 'tables',
      description: 'Where tables are published, relative to the Markdown page.',
    },
  },
  inputs: {
    results: { description: "compare's results." },
    figures: { description: "plot's figures." },
  },
  outputs: {
    page: { path: 'report.html', description: 'The page: inline figures and fonts, no network.' },
    markdown: { path: 'report.md', description: 'The same in Markdown, with links to figures and tables.' },
  },
  run({ params, inputs, outputs }) {
    const report = readReport(inputs.results, inputs.figures, {
      title: params.title,
      question: params.question,
      facts: Object.entries(params.facts).map(([name, value]) => [name, factText(value)] as const),
      limits: params.limits,
    });
    writeFileSync(outputs.page, htmlPage(report));
    writeFileSync(outputs.markdown, markdownPage(report, { figures: params.figures_path, tables: params.tables_path }));
  },
});
