/** The look of the report page: one column, light and dark by the reader's setting, and printable. */
import { readFileSync } from 'node:fs';
import { frame } from '../plot/figure.ts';

/** The style sheet, fonts embedded, so that the page asks the network for nothing. */
export function styleSheet(): string {
  return `${fontFaces()}\n${colours()}\n${layout}`;
}

function fontFaces(): string {
  const files = [
    [400, new URL('../../assets/fonts/inter-latin-400.woff2', import.meta.url)],
    [600, new URL('../../assets/fonts/inter-latin-600.woff2', import.meta.url)],
  ] as const;
  return files
    .map(([weight, file]) => {
      const data = readFileSync(file).toString('base64');
      return `@font-face{font-family:Inter;font-weight:${weight};font-style:normal;src:url(data:font/woff2;base64,${data}) format("woff2")}`;
    })
    .join('\n');
}

/** Colours as variables. A figure's frame has fixed colours in its file; by their exact values they follow the page. */
function colours(): string {
  const follow = (variable: string, colour: string) =>
    `.figure svg [fill="${colour}"]{fill:var(--${variable})}.figure svg [stroke="${colour}"]{stroke:var(--${variable})}`;
  return `:root{color-scheme:light dark;--paper:#f6f8fa;--card:${frame.paper};--ink:${frame.ink};--muted:${frame.muted};--rule:${frame.rule};--accent:#0969da;
--supported:#1a7f37;--partly:#9a6700;--rejected:#cf222e;--best:#dafbe1}
@media (prefers-color-scheme:dark){:root{--paper:#0d1117;--card:#161b22;--ink:#e6edf3;--muted:#9198a1;--rule:#3d444d;--accent:#58a6ff;
--supported:#3fb950;--partly:#d29922;--rejected:#ff7b72;--best:#12351d}}
@media print{:root{color-scheme:light;--paper:#fff;--card:#fff;--ink:${frame.ink};--muted:${frame.muted};--rule:${frame.rule};--supported:#1a7f37;--partly:#9a6700;--rejected:#cf222e;--best:#dafbe1}}
${follow('card', frame.paper)}${follow('ink', frame.ink)}${follow('muted', frame.muted)}${follow('rule', frame.rule)}`;
}

const layout = `*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 Inter,system-ui,sans-serif}
main,header,footer{max-width:72rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:3rem}
h1{font-size:2rem;line-height:1.2;margin:0 0 .5rem;font-weight:600;letter-spacing:-.02em}
h2{font-size:1.3rem;line-height:1.3;margin:3rem 0 1rem;font-weight:600}
h3{font-size:1rem;margin:0 0 .75rem;font-weight:600}
.lead{font-size:1.15rem;color:var(--muted);margin:0;max-width:46rem}
nav{margin-top:1rem;font-size:.9rem}
nav a{margin-right:1.25rem}
a{color:var(--accent)}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.card{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:1.25rem 1.5rem;margin:0 0 1.25rem}
.card>:last-child{margin-bottom:0}
.verdict{border-left:6px solid var(--tone)}
.verdict p{margin:0 0 .75rem}
.verdict .answer{font-size:1.15rem}
.supported{--tone:var(--supported)}.partly{--tone:var(--partly)}.rejected{--tone:var(--rejected)}
.badge{display:inline-block;border:1.5px solid var(--tone);color:var(--tone);border-radius:999px;padding:.05rem .7rem;font-weight:600;font-size:.9rem;margin-right:.6rem}
.hypothesis{font-weight:600}
.note,figcaption,footer{color:var(--muted);font-size:.875rem}
.note,figcaption{max-width:60rem}
dl{display:grid;grid-template-columns:minmax(9rem,max-content) 1fr;gap:.3rem 1.5rem;margin:0;font-size:.95rem}
dt{color:var(--muted)}dd{margin:0}
.scroll{overflow:auto;max-height:30rem;margin:0 -.5rem}
table{border-collapse:collapse;font-size:.875rem;width:100%}
th,td{padding:.4rem .6rem;text-align:left;border-bottom:1px solid var(--rule);white-space:nowrap}
thead th{position:sticky;top:0;background:var(--card);font-weight:600;vertical-align:bottom;white-space:normal;min-width:4.2rem;line-height:1.25}
tbody th{font-weight:400}
.number{text-align:right;font-variant-numeric:tabular-nums}
tr.best th,tr.best td{background:var(--best);font-weight:600}
.figure{margin:0 0 1.25rem;overflow-x:auto}
.figure svg{display:block;max-width:100%;height:auto;margin:0 auto}
.figure svg text{font-family:Inter,system-ui,sans-serif}
figcaption{margin-top:.75rem}
li{margin:.3rem 0}
code{font:.875em ui-monospace,monospace}
footer{padding-top:2rem;padding-bottom:3rem}
@media (max-width:40rem){dl{grid-template-columns:1fr;gap:.1rem}dd{margin-bottom:.5rem}header{padding-top:1.5rem}.card{padding:1rem}}
@media print{@page{margin:14mm}html{font-size:11px}nav{display:none}.scroll{max-height:none;overflow:visible}.card,.figure,tr{break-inside:avoid}.long{break-inside:auto}
h2{break-after:avoid;margin-top:1.5rem}main,header,footer{max-width:none;padding:0}table{font-size:.78rem}th,td{padding:.2rem .3rem}thead th{min-width:0}}`;
