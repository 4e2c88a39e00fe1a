/** Stage: writes the report of one or several studies as one HTML page that needs nothing else, and as Markdown. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineStage } from '../engine/stage.ts';
import { openRenderer } from './plot/render.ts';
import { factText, readReport } from './report/content.ts';
import { curvesFigure } from './report/grid.ts';
import { markdownPage } from './report/markdown_page.ts';
import { htmlPage } from './report/page.ts';
import { pageScripts } from './report/scripts.ts';

export default defineStage({
  description: 'Writes the report of studies as one self-contained HTML page and as Markdown.',
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
      description:
        'Where figures are published, relative to the Markdown page; those of several studies in a folder of each below.',
    },
    tables_path: {
      type: 'string',
      default: 'tables',
      description: 'Where tables are published, likewise.',
    },
  },
  inputs: {
    results: { many: true, description: 'Results of the stages that compare.' },
    figures: { many: true, description: "plot's figures." },
    summaries: { many: true, optional: true, description: "train's summaries: the grid of trained models." },
    curves: { many: true, optional: true, description: "train's loss curves, for the grid." },
    lineage: { lineage: true, description: 'The records behind all of these: where each number comes from.' },
  },
  outputs: {
    page: { path: 'report.html', description: 'The page: figures, fonts and scripts in it, no network.' },
    markdown: { path: 'report.md', description: 'The same in Markdown, with links to figures and tables.' },
  },
  async run({ params, inputs, outputs }) {
    const { results, figures, summaries = [], curves = [], lineage } = inputs;
    const report = readReport(
      { results, figures, summaries, curves, lineage },
      {
        title: params.title,
        question: params.question,
        facts: Object.entries(params.facts).map(([name, value]) => [name, factText(value)] as const),
        limits: params.limits,
      },
    );
    const draw = openRenderer(fileURLToPath(new URL('../assets/fonts/Inter-Regular.ttf', import.meta.url)));
    const curvesOfAll = curvesFigure(report.runs);
    const drawn = curvesOfAll === null ? null : { ...curvesOfAll, ...(await draw(curvesOfAll)), from: null };
    writeFileSync(outputs.page, htmlPage(report, await pageScripts(), drawn));
    writeFileSync(outputs.markdown, markdownPage(report, { figures: params.figures_path, tables: params.tables_path }));
  },
});
