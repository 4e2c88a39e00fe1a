/** The report as one HTML page that needs nothing else: the answer first, then what it rests on. */
import { createHash } from 'node:crypto';
import type { FailureMode } from '../shared/failures.ts';
import {
  hypothesisText,
  numberOf,
  type Report,
  type ReportFigure,
  type ReportStudy,
  type ReportVerdict,
} from './content.ts';
import { graphPicture, graphText } from './graph.ts';
import { gridOf } from './grid.ts';
import { type Html, html, trusted } from './html.ts';
import type { PageRecord } from './lineage.ts';
import { styleSheet } from './style.ts';
import { tableCard } from './table.ts';

/** Scripts of the page: what they bring is there without them too, but for hover, sorting, filters and lineage. */
export interface Scripts {
  /** vega-embed, which draws figures that answer to the pointer. */
  readonly vega: string;
  readonly own: string;
}

/** The whole page. @param curves the picture of every run's losses, if there is one. */
export function htmlPage(report: Report, scripts: Scripts, curves: ReportFigure | null): string {
  const { studies, lineage, runs, failures } = report;
  const parts: readonly (readonly [id: string, title: string, content: Html | null])[] = [
    ['answer', 'The answer', answer(report.verdicts)],
    ['failures', 'What goes wrong', failures.length === 0 ? null : failuresSection(failures, studies)],
    ['figures', 'Figures', figuresSection(report.figures)],
    ['grid', 'The grid', runs.length === 0 ? null : gridOf(runs, curves === null ? html`` : figureCard(curves))],
    ['tables', 'Tables', html`${studies.map((study, i) => studyTables(study, i, report))}`],
    ['run', 'How it was made', runSection(report)],
    [
      'limits',
      'What this can and cannot show',
      html`<ul class="limits">${report.limits.map((limit) => html`<li>${limit}</li>`)}</ul>`,
    ],
  ];
  const shown = parts.flatMap(([id, title, content]) => (content === null ? [] : [[id, title, content] as const]));
  const code = [scripts.vega, scripts.own];
  const hashes = code.map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`).join(' ');
  const charts = [...report.figures, ...(curves === null ? [] : [curves])];
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; font-src data:; script-src ${trusted(hashes)}">
<title>${report.title}</title>
<style>${trusted(styleSheet())}</style>
</head>
<body>
<a class="skip" href="#answer">To the answer</a>
<header>
<h1>${unbroken(report.title)}</h1>
<p class="lead">${report.question}</p>
</header>
<nav aria-label="Sections"><ul>${shown.map(([id, title]) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
<main>
${shown.map(
  ([id, title, content]) => html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>
${content}
</section>
`,
)}</main>
<dialog id="lineage" aria-labelledby="lineage-title"><form method="dialog"><h2 id="lineage-title">Where this number comes from</h2><button class="close" aria-label="Close">✕</button></form><div id="lineage-body"></div></dialog>
${charts.map(({ name, vega }) => (vega === null ? html`` : dataBlock(`vega-${name}`, vega)))}
${dataBlock('records', JSON.stringify(lineage.records.map(shortened)))}
${code.map(
  (text) => html`<script>${trusted(text)}</script>
`,
)}</body>
</html>
`;
  return page.markup;
}

/** JSON that the page's script reads; it cannot end its element. */
function dataBlock(id: string, json: string): Html {
  return html`<script type="application/json" id="${id}">${trusted(json.replaceAll('<', '\\u003c'))}</script>
`;
}

/** Digests are told by their first digits: enough for `pipe lineage`. */
function shortened(record: PageRecord): PageRecord {
  const short = (digest: string) => digest.slice(0, 16);
  return {
    ...record,
    code: record.code === null ? null : short(record.code),
    outputs: Object.fromEntries(Object.entries(record.outputs).map(([name, digest]) => [name, short(digest)])),
  };
}

/** A heading that is not broken inside `4-bit`. */
function unbroken(title: string): Html {
  return html`${title.split(/(\d+-\w+)/).map((part, i) => (i % 2 === 1 ? html`<span class="whole">${part}</span>` : part))}`;
}

/** `data-from` of what rests on one record. */
function from(record: number | null): Html {
  return record === null ? html`` : html` data-from="${record}"`;
}

/** Text whose numbers lead to their lineage. */
function traced(text: string): Html {
  const parts = text.split(/((?<![\w.])[+−-]?\d+(?:,\d{3})*(?:\.\d+)?(?![\w]| − [a-z]))/);
  return html`${parts.map((part, i) => (i % 2 === 1 ? html`<span class="n">${part}</span>` : part))}`;
}

const marks = { supported: '✓ supported', partly: '~ partly supported', rejected: '✗ rejected' } as const;

function answer(verdicts: readonly ReportVerdict[]): Html {
  if (verdicts.length === 0)
    return html`<div class="card"><p>No hypothesis was judged: these results only describe.</p></div>`;
  return html`<div class="verdicts">${byHypothesis(verdicts).map(verdictCard)}</div>
<p class="note">Each verdict follows from a rule that was written before the numbers; it stands with the evidence. What no verdict can say is under <a href="#limits">limits</a>. Click a number for the record that it comes from.</p>`;
}

/** One card a hypothesis, with every measure that it was judged by. */
function verdictCard(verdicts: readonly ReportVerdict[]): Html {
  const [first] = verdicts as [ReportVerdict];
  const number = numberOf(first);
  return html`<article class="verdict ${first.outcome}"${from(first.from)}>
${number === '' ? html`` : html`<p class="tag">${number}</p>`}<h3>${hypothesisText(first)}</h3>
${verdicts.map(judgement)}</article>
`;
}

function judgement({ measure, outcome, answer, floor, rule, evidence }: ReportVerdict): Html {
  return html`<div class="judged ${outcome}"><p class="badge">${marks[outcome]}</p>
<p class="measure">By the ${measure}</p>
<p class="answer">${traced(answer)}</p>
<p class="floor">Noise floor: ${traced(floor)}.</p>
<details><summary>Evidence and rule</summary>
${definitions(evidence.map(({ label, value }) => [label, traced(value)]))}
<p class="note">The rule, fixed before the numbers: ${rule}</p></details></div>
`;
}

/** Verdicts on one hypothesis together, in the order of the first of each. */
function byHypothesis(verdicts: readonly ReportVerdict[]): readonly (readonly ReportVerdict[])[] {
  const groups = new Map<string, ReportVerdict[]>();
  for (const verdict of verdicts) {
    const group = groups.get(verdict.hypothesis);
    if (group === undefined) groups.set(verdict.hypothesis, [verdict]);
    else group.push(verdict);
  }
  return [...groups.values()];
}

function definitions(entries: readonly (readonly [string, string | Html])[]): Html {
  return html`<dl>${entries.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

function failuresSection(failures: readonly FailureMode[], studies: readonly ReportStudy[]): Html {
  return html`<p class="intro">Found by rules over the tables, not by looking for them. Each says what is seen, why, by which numbers, and what to do.</p>
<div class="failures">${failures.map(
    ({ symptom, cause, evidence, mitigation, subject }) => html`<article${from(
      studies.find((study) => study.subject === subject)?.from ?? null,
    )}><h3>${symptom}</h3>${definitions([
      ['Cause', cause],
      ['Evidence', traced(evidence)],
      ['Mitigation', mitigation],
    ])}</article>
`,
  )}</div>`;
}

function figuresSection(figures: readonly ReportFigure[]): Html {
  return figures.length === 0
    ? html`<p class="note">The results hold nothing to draw.</p>`
    : html`${figures.map(figureCard)}`;
}

function figureCard({ name, title, alt, svg, from: record, vega }: ReportFigure): Html {
  return html`<figure class="card figure" id="figure-${name}"${from(record)}><p class="figure-title" aria-hidden="true">${title}</p><div class="plot"${vega === null ? html`` : html` data-vega="vega-${name}"`}>${trusted(svg)}</div><figcaption>${traced(alt)}</figcaption></figure>
`;
}

function studyTables(study: ReportStudy, place: number, { studies, lineage }: Report): Html {
  const taken = study.from === null ? [] : lineage.contributions(study.from);
  const cards = study.tables.map((table) =>
    tableCard(table, { id: `table-${place}-${table.name}`, maker: study.from, taken }),
  );
  return studies.length === 1 ? html`${cards}` : html`<h3 class="group">${study.title}</h3>${cards}`;
}

function runSection({ facts, lineage }: Report): Html {
  const { records } = lineage;
  const seconds = records.reduce((sum, record) => sum + record.seconds, 0);
  const machines = [...new Set(records.map(({ machine }) => machine))];
  const gpus = [...new Set(records.flatMap(({ measurements }) => measurements.GPU ?? []))];
  const made: readonly (readonly [string, string])[] = [
    ['Tasks', `${records.length}, ${Math.round(seconds).toLocaleString('en-US')} s of work together`],
    [machines.length === 1 ? 'Machine' : 'Machines', machines.join('; ')],
    ...(gpus.length === 0 ? [] : [['GPU', gpus.join('; ')] as const]),
  ];
  return html`<div class="card">${definitions(records.length === 0 ? facts : [...facts, ...made])}</div>
${
  records.length === 0
    ? html``
    : html`<div class="card"><h3 id="graph-title">The graph of the run</h3><div class="scroll graph" role="region" aria-labelledby="graph-title" tabindex="0">${graphPicture(records)}</div>
<details><summary>In words</summary><p class="note">${graphText(records)}.</p></details></div>`
}
<p class="note">Every number has a record: the task that computed it, with its parameters, its code and the records that it read, back to the sources. Click a number, or press Enter on it, to see them; <code>pipe lineage KEY</code> shows the same in the project.</p>`;
}
