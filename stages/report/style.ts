/** The look of the report page: one column, light and dark by the reader's setting, and printable. */
import { readFileSync } from 'node:fs';
import { frame } from '../plot/figure.ts';

/** The style sheet, fonts embedded, so that the page asks the network for nothing. */
export function styleSheet(): string {
  return [fontFaces(), colours(), text, parts, media].join('\n');
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
  const light = `--paper:#fbfbfa;--card:${frame.paper};--ink:${frame.ink};--muted:${frame.muted};--rule:${frame.rule};--faint:#eceef0;--accent:#0a5fbf;
--supported:#1a7f37;--partly:#8a5a00;--rejected:#b3261e;--best:#eaf6ec`;
  return `:root{color-scheme:light dark;${light}}
@media (prefers-color-scheme:dark){:root{--paper:#0f1215;--card:#161a1f;--ink:#e6e9ec;--muted:#9aa3ad;--rule:#343b43;--faint:#22282e;--accent:#6cb0ff;
--supported:#4cc26a;--partly:#e0a63a;--rejected:#ff8a80;--best:#16301d}}
@media print{:root{color-scheme:light;${light};--paper:#fff}}
${follow('card', frame.paper)}${follow('ink', frame.ink)}${follow('muted', frame.muted)}${follow('rule', frame.rule)}`;
}

const text = `*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:4rem}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.6 Inter,system-ui,sans-serif;-webkit-font-smoothing:antialiased}
main,header,nav ul{max-width:70rem;margin:0 auto;padding:0 2rem}
header{padding-top:4.5rem;padding-bottom:2rem}
h1{font-size:2.4rem;line-height:1.15;margin:0 0 1rem;font-weight:600;letter-spacing:-.025em;max-width:46rem;text-wrap:balance}
h2{font-size:1.5rem;line-height:1.3;margin:0 0 1.25rem;font-weight:600;letter-spacing:-.015em}
h3{font-size:1.05rem;line-height:1.4;margin:0 0 .75rem;font-weight:600}
h4{font-size:1rem;margin:0 0 .75rem;font-weight:600}
h3.group{font-size:1.15rem;margin:2.5rem 0 1rem}
section{padding-top:3.5rem}
section:last-child{padding-bottom:5rem}
p{margin:0 0 .75rem}
.lead{font-size:1.2rem;line-height:1.5;color:var(--muted);margin:0;max-width:44rem;text-wrap:pretty}
.intro{color:var(--muted);max-width:44rem}
a{color:var(--accent);text-underline-offset:.18em}
.note,figcaption{color:var(--muted);font-size:.875rem;line-height:1.55;max-width:52rem}
code{font:.875em ui-monospace,SFMono-Regular,Menlo,monospace}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:1rem;background:var(--card);padding:.5rem 1rem;z-index:3}
nav{position:sticky;top:0;z-index:2;background:color-mix(in srgb,var(--paper) 92%,transparent);backdrop-filter:blur(8px);border-bottom:1px solid var(--faint)}
nav ul{display:flex;gap:1.6rem;list-style:none;font-size:.9rem;overflow-x:auto;scrollbar-width:none}
nav a{display:block;padding:.85rem 0;color:var(--muted);text-decoration:none;white-space:nowrap}
nav a:hover{color:var(--ink)}
dl{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:.35rem 1.5rem;margin:0;font-size:.925rem}
dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--accent);font-size:.9rem;width:max-content;max-width:100%}
details[open]>summary{margin-bottom:.85rem}
.limits{padding-left:1.1rem;max-width:48rem}.limits li{margin:.55rem 0}`;

const parts = `.card{background:var(--card);border:1px solid var(--faint);border-radius:12px;padding:1.5rem 1.75rem;margin:0 0 1.5rem}
.card>:last-child{margin-bottom:0}
.verdicts{display:grid;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr));gap:1.25rem;margin-bottom:1.25rem;align-items:start}
.verdict{background:var(--card);border:1px solid var(--faint);border-top:4px solid var(--tone);border-radius:12px;padding:1.4rem 1.6rem}
.supported{--tone:var(--supported)}.partly{--tone:var(--partly)}.rejected{--tone:var(--rejected)}
.tag{color:var(--muted);font-weight:600;font-size:.875rem;margin-bottom:.3rem}
.verdict h3{margin-bottom:1.1rem;text-wrap:pretty}
.judged+.judged{border-top:1px solid var(--faint);margin-top:1.1rem;padding-top:1.1rem}
.badge{color:var(--tone);font-weight:600;font-size:.95rem;margin:0}
.measure,.floor{color:var(--muted);font-size:.875rem;margin-bottom:.6rem}
.verdict dl{grid-template-columns:1fr;gap:.1rem}.verdict dd{margin-bottom:.55rem}
.failures{display:grid;grid-template-columns:repeat(auto-fit,minmax(21rem,1fr));gap:2rem 2.5rem;margin-top:1.75rem}
.failures article{border-top:1px solid var(--rule);padding-top:1rem}
.failures dl{grid-template-columns:1fr;gap:0}.failures dt{font-size:.8rem;margin-top:.5rem}
.figure{margin:0 0 1.5rem}.whole{white-space:nowrap}
/* On a narrow screen a figure is wider than the page, and its own title is cut. */
.figure-title{display:none;font-weight:600}
.plot{overflow-x:auto}
.figure svg{display:block;margin:0 auto;max-width:100%;height:auto}
.plot svg{background:none!important}
.figure svg text{font-family:Inter,system-ui,sans-serif}
figcaption{margin:.9rem auto 0}
.filters{display:flex;flex-wrap:wrap;gap:.75rem 2rem;align-items:end;margin-bottom:1.5rem}
.filters fieldset{border:0;padding:0;margin:0;display:flex;flex-wrap:wrap;gap:.4rem}
.filters legend{font-size:.8rem;color:var(--muted);padding:0;margin-bottom:.35rem}
.filters label{cursor:pointer}
.filters input{position:absolute;opacity:0;pointer-events:none}
.filters span{display:block;border:1px solid var(--rule);border-radius:999px;padding:.15rem .8rem;font-size:.875rem;color:var(--muted)}
.filters input:checked+span{border-color:var(--accent);color:var(--accent)}
.filters input:focus-visible+span{outline:2px solid var(--accent);outline-offset:2px}
.filters .count{margin:0 0 .2rem auto;color:var(--muted);font-size:.875rem}
html:not(.scripted) .filters{display:none}
.scroll{overflow:auto;max-height:32rem;margin:0 -.6rem 1rem}
.scroll.graph{max-height:none}
.long .scroll{box-shadow:inset 0 -1px var(--rule)}.rows{margin-top:-.5rem}
table{border-collapse:collapse;font-size:.875rem;width:100%}
th,td{padding:.45rem .6rem;text-align:left;border-bottom:1px solid var(--faint);white-space:nowrap}
thead th{position:sticky;top:0;background:var(--card);font-weight:600;vertical-align:bottom;white-space:normal;min-width:4.4rem;line-height:1.3;box-shadow:inset 0 -1px var(--rule)}
tbody th{font-weight:400}
th.number,td.number{text-align:right;font-variant-numeric:tabular-nums}
tr.best th,tr.best td{background:var(--best)}
.sort{all:unset;cursor:pointer;display:inline}
.sort:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.sort::after{content:"";position:absolute;margin-left:.15em;color:var(--accent)}
[aria-sort=ascending] .sort::after{content:"↑"}[aria-sort=descending] .sort::after{content:"↓"}
.scripted td.number,.scripted .n,.scripted .node{cursor:pointer}
.scripted .n{border-bottom:1px dotted var(--muted);white-space:nowrap}
.scripted .n:hover,.scripted td.number:hover{color:var(--accent)}
svg.graph{display:block;font-size:12px}
.graph rect{fill:var(--card);stroke:var(--rule)}.graph .node:hover rect{stroke:var(--accent)}
.graph text{fill:var(--ink);text-anchor:middle}.graph .count{fill:var(--muted);font-size:11px}
.graph .arrows path{fill:none;stroke:var(--muted);opacity:.55;marker-end:url(#arrow)}.graph marker path{fill:var(--muted)}
dialog{border:1px solid var(--rule);border-radius:14px;background:var(--card);color:var(--ink);width:min(44rem,calc(100vw - 2rem));max-height:calc(100vh - 4rem);padding:1.6rem 1.9rem 2rem}
dialog::backdrop{background:rgb(10 14 18/.45)}
dialog form{display:flex;justify-content:space-between;gap:1rem}dialog h2{font-size:1.2rem;margin:0 0 .75rem}
.close{all:unset;cursor:pointer;color:var(--muted);padding:.1rem .5rem;height:max-content}.close:focus-visible{outline:2px solid var(--accent)}
dialog .what b{font-size:1.05rem;margin-right:.7rem;font-variant-numeric:tabular-nums}dialog .what span{color:var(--muted)}
dialog h3{margin:1.25rem 0 .5rem}dialog h4{font-size:.875rem;margin:.9rem 0 .25rem;color:var(--muted)}
dialog dl{font-size:.85rem;gap:.2rem 1.2rem}
details.record{border-top:1px solid var(--faint);padding:.3rem 0}details.record summary{color:var(--ink)}
details.record>article{padding-left:1rem;border-left:2px solid var(--faint)}details.record>article>h3{display:none}
#vg-tooltip-element{visibility:hidden;position:fixed;z-index:9;background:var(--card);color:var(--ink);border:1px solid var(--rule);border-radius:8px;padding:.5rem .75rem;font:.8rem/1.45 Inter,sans-serif;box-shadow:0 6px 24px rgb(0 0 0/.14)}
#vg-tooltip-element.visible{visibility:visible}
#vg-tooltip-element table{width:auto;font-size:.8rem}#vg-tooltip-element td{border:0;padding:0 .6rem 0 0}#vg-tooltip-element td.key{color:var(--muted)}#vg-tooltip-element h2{font-size:.85rem;margin:0}`;

const media = `@media (max-width:44rem){main,header,nav ul{padding:0 1.1rem}header{padding-top:2.25rem;padding-bottom:1.25rem}h1{font-size:1.75rem}.lead{font-size:1.05rem}
section{padding-top:2.5rem}.card,.verdict{padding:1.1rem 1.15rem}dl{grid-template-columns:1fr;gap:.05rem}dd{margin-bottom:.5rem}.verdicts,.failures{grid-template-columns:1fr}
.figure svg{max-width:none}.figure-title{display:block}nav ul{gap:1.2rem}.filters .count{margin-left:0}dialog{padding:1.1rem}}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{@page{margin:15mm}html{font-size:10.5px}nav,.filters,.skip,.rows,dialog,summary{display:none}header{padding-top:0}main,header{max-width:none;padding-left:0;padding-right:0}section{padding-top:1.75rem}
.scroll{max-height:none;overflow:visible}.card,.figure,.failures article,tr{break-inside:avoid}.long{break-inside:auto}h2,h3,h4{break-after:avoid}
details::details-content{content-visibility:visible;block-size:auto}table{font-size:.8rem}th,td{padding:.2rem .35rem}thead th{min-width:0;position:static}
.verdicts{display:block}.verdict{margin-bottom:1.25rem}.judged>.badge,.judged>.measure,.judged>.answer,.judged>.floor{break-after:avoid}.plot{overflow:visible}.figure svg,svg.graph{max-width:100%;height:auto;max-height:88mm}svg.graph{max-height:210mm}.scripted .n{border:0}a{color:inherit;text-decoration:none}}`;
