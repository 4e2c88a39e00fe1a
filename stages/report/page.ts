/** The report as one HTML page that needs nothing else: the answer first, then what it rests on. */
import type { Cell, Column, Table, Verdict } from '../compare/results.ts';
import { formatCell } from '../shared/format.ts';
import { comparedFacts, type Report, type ReportFigure } from './content.ts';
import { type Html, html, trusted } from './html.ts';
import { styleSheet } from './style.ts';

/** More rows than this scroll on a screen, and may be broken between printed pages. */
const longTable = 14;

/** The whole page. */
export function htmlPage(report: Report): string {
  const { results } = report;
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; font-src data:">
<title>${report.title}</title>
<style>${trusted(styleSheet())}</style>
</head>
<body>
<header>
<h1>${report.title}</h1>
<p class="lead">${report.question}</p>
<nav aria-label="Sections"><a href="#answer">Answer</a><a href="#tables">Tables</a><a href="#figures">Figures</a><a href="#run">What was run</a><a href="#limits">Limits</a></nav>
</header>
<main>
<section id="answer"><h2>The answer</h2>
${answer(results.verdicts)}
</section>
<section id="tables"><h2>Tables</h2>
${results.tables.map(tableCard)}
</section>
<section id="figures"><h2>Figures</h2>
${report.figures.length === 0 ? html`<p class="note">The results hold nothing to draw.</p>` : report.figures.map(figureCard)}
</section>
<section id="run"><h2>What was run</h2>
<div class="card">${definitions([...report.facts, ...comparedFacts(results)])}</div>
<p class="note">The machine, the times, and the chain of artifacts behind every table are in the record of the run: <code>pipe lineage</code> with the path of a published file shows them.</p>
</section>
<section id="limits"><h2>What this can and cannot show</h2>
<ul>${[...results.limits, ...report.limits].map((limit) => html`<li>${limit}</li>`)}</ul>
</section>
</main>
</body>
</html>
`;
  return page.markup;
}

function answer(verdicts: readonly Verdict[]): readonly Html[] {
  return verdicts.length === 0
    ? [html`<div class="card"><p>No hypothesis was judged: these results only describe.</p></div>`]
    : verdicts.map(verdictCard);
}

const marks = { supported: '✓ supported', partly: '~ partly supported', rejected: '✗ rejected' } as const;

function verdictCard({ hypothesis, measure, outcome, answer, rule, evidence }: Verdict): Html {
  return html`<article class="card verdict ${outcome}">
<h3>By the ${measure}</h3>
<p><span class="badge">${marks[outcome]}</span><span class="hypothesis">${hypothesis}</span></p>
<p class="answer">${answer}</p>
${definitions(evidence.map(({ label, value }) => [label, value]))}
<p class="note" style="margin-top:.9rem">The rule, fixed before the numbers: ${rule}</p>
</article>
`;
}

function definitions(entries: readonly (readonly [string, string])[]): Html {
  return html`<dl>${entries.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
}

function tableCard({ name, title, note, columns, rows }: Table): Html {
  const long = rows.length > longTable ? ' long' : '';
  return html`<div class="card${long}"><h3 id="table-${name}">${title}</h3>
<div class="scroll" role="region" aria-labelledby="table-${name}" tabindex="0"><table>
<thead><tr>${columns.map((column) => html`<th scope="col" class="${column.kind}">${column.label}</th>`)}</tr></thead>
<tbody>${rows.map((row) => tableRow(row, columns))}</tbody>
</table></div>
<p class="note">${note}</p></div>
`;
}

function tableRow(row: readonly Cell[], columns: readonly Column[]): Html {
  const isBest = columns.some((column, i) => column.name === 'best' && row[i] !== 'no');
  const cells = row.map((cell, i) => {
    const column = columns[i]!;
    const text = formatCell(cell, column);
    return i === 0
      ? html`<th scope="row" class="${column.kind}">${text}</th>`
      : html`<td class="${column.kind}">${text}</td>`;
  });
  return html`<tr${isBest ? trusted(' class="best"') : ''}>${cells}</tr>
`;
}

function figureCard({ name, alt, svg }: ReportFigure): Html {
  return html`<figure class="card figure" id="figure-${name}">${trusted(svg)}<figcaption>${alt}</figcaption></figure>
`;
}
