/** The page of `pipe serve`: one file, without anything from elsewhere. */

/** @param project is shown as the page's title. */
export function page(project: string): string {
  const title = project.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}: pipe</title>
<style>${style}</style>
</head>
<body>
<header><h1>${title}</h1><p id="connection" role="status"></p></header>
<div class="columns">
  <nav aria-label="Runs"><h2>Runs</h2><ol id="runs"></ol></nav>
  <main>
    <section aria-labelledby="run-title">
      <h2 id="run-title">No run yet</h2>
      <p id="summary"></p>
      <div id="bar" class="bar" role="progressbar" aria-label="Tasks ended" aria-valuemin="0"><span></span></div>
      <div id="tasks"></div>
    </section>
    <section aria-labelledby="results-title"><h2 id="results-title">Results</h2><div id="results"></div></section>
  </main>
</div>
<script>${script}</script>
</body>
</html>
`;
}

const style = `
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6475; --line: #dfe3ea; --paper: #f6f7f9; --card: #fff;
  --done: #1a7f5a; --run: #2563c9; --fail: #c2362b; --wait: #9a6a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #2d3543; --paper: #12161d; --card: #1a2029;
  --done: #4cc38a; --run: #6ea8fe; --fail: #ff7b72; --wait: #e0b252; } }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
header { display: flex; align-items: baseline; gap: 1rem; padding: 1rem 1.5rem; border-bottom: 1px solid var(--line); background: var(--card); }
h1 { font-size: 1.25rem; margin: 0; } h2 { font-size: 1rem; margin: 0 0 .5rem; } h3 { font-size: .95rem; margin: 1rem 0 .25rem; }
#connection { margin: 0; color: var(--soft); font-size: .85rem; }
.columns { display: grid; grid-template-columns: minmax(15rem, 20rem) minmax(0, 1fr); gap: 1.5rem; padding: 1.5rem; max-width: 90rem; margin: 0 auto; }
@media (max-width: 50rem) { .columns { grid-template-columns: minmax(0, 1fr); } }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .25rem; }
nav button { width: 100%; text-align: left; font: inherit; color: inherit; background: none; border: 1px solid transparent; border-radius: 8px; padding: .45rem .6rem; cursor: pointer; }
nav button:hover { background: var(--card); } nav button[aria-current=true] { background: var(--card); border-color: var(--line); }
nav small { display: block; color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.25rem; margin-bottom: 1.5rem; }
.done { color: var(--done); } .failed { color: var(--fail); } .running { color: var(--run); } .interrupted, .retried, .ended { color: var(--wait); }
#summary { margin: 0 0 .75rem; color: var(--soft); }
.bar { height: 8px; border-radius: 4px; background: var(--line); overflow: hidden; margin-bottom: 1rem; } .bar span { display: block; height: 100%; width: 0; background: var(--run); }
.task { display: grid; grid-template-columns: minmax(0, 19rem) minmax(4rem, 1fr) 11rem; gap: .75rem; align-items: center; padding: .2rem 0; }
.task .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-family: ui-monospace, monospace; font-size: .82rem; }
.track { position: relative; height: 12px; border-radius: 3px; background: color-mix(in srgb, var(--line) 45%, transparent); }
.track i { position: absolute; top: 0; bottom: 0; border-radius: 3px; background: currentColor; min-width: 3px; }
.task .time { white-space: nowrap; font-variant-numeric: tabular-nums; font-size: .82rem; }
.message { margin: .1rem 0 .5rem; padding: .5rem .75rem; border-left: 3px solid var(--fail); background: var(--paper); white-space: pre-wrap; font: .82rem/1.4 ui-monospace, monospace; }
a { color: var(--run); } ul.files { columns: 16rem; margin: 0; padding: 0; list-style: none; font-size: .88rem; } ul.files li { break-inside: avoid; overflow-wrap: anywhere; }
.first { font-weight: 600; }
`;

/** Reads the state each few seconds, and the events of the run that is looked at as they come. */
const script = `
const $ = (id) => document.getElementById(id);
const el = (tag, attributes = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
};
const seconds = (ms) => { const s = ms / 1000; return s < 10 ? s.toFixed(1) + ' s' : s < 60 ? Math.round(s) + ' s' : Math.floor(s / 60) + ' min ' + Math.round(s % 60) + ' s'; };
let shown = null, pinned = false, source = null, run = null, latest = [];

function look(id) {
  if (shown === id) return;
  shown = id;
  if (source) source.close();
  run = { wanted: 0, cached: 0, tasks: new Map(), status: null, from: null, to: null };
  source = new EventSource('/api/runs/' + encodeURIComponent(id) + '/events');
  source.onmessage = ({ data }) => { hear(JSON.parse(data)); later(); };
  source.addEventListener('end', ({ data }) => { source.close(); run.status = JSON.parse(data).status; later(); refresh(); });
  list(); later();
}

function hear(event) {
  const task = event.task && (run.tasks.get(event.task) ?? { name: event.task, from: null, to: null, state: 'waiting', done: 0, total: 0, message: '' });
  switch (event.type) {
    case 'run-started': run.wanted = event.wanted; run.from = event.at; run.status = 'running'; return;
    case 'cached': run.cached += event.tasks; return;
    case 'task-cached': run.cached += 1; return;
    case 'task-started': Object.assign(task, { from: event.at, to: null, state: 'running', done: 0, total: 0 }); break;
    case 'task-progress': Object.assign(task, { done: event.done, total: event.total }); break;
    case 'task-done': Object.assign(task, { to: event.at, state: 'done', from: task.from ?? event.at }); break;
    case 'task-failed': Object.assign(task, { to: event.at, state: 'failed', from: task.from ?? event.at, message: event.failure.message }); break;
    case 'task-retried': Object.assign(task, { to: event.at, state: 'retried', message: event.failure.message }); break;
    case 'task-skipped': Object.assign(task, { to: event.at, state: 'skipped' }); break;
    case 'run-finished': run.status = event.status; run.to = event.at; return;
    default: return;
  }
  run.tasks.set(event.task, task);
}

let drawn = false;
function later() { if (!drawn) { drawn = true; requestAnimationFrame(() => { drawn = false; draw(); }); } }

function draw() {
  const about = latest.find(({ id }) => id === shown);
  $('run-title').replaceChildren(about ? about.pipeline : shown ?? 'No run yet', ' ', el('span', { className: run?.status ?? about?.status ?? '' }, run?.status ?? about?.status ?? ''));
  if (!run) return;
  const now = run.to ?? (run.status === 'running' ? Date.now() : Math.max(run.from ?? 0, ...[...run.tasks.values()].map((t) => t.to ?? t.from ?? 0)));
  const tasks = [...run.tasks.values()];
  const count = (state) => tasks.filter((task) => task.state === state).length;
  const ended = run.cached + count('done') + count('failed') + count('skipped');
  const parts = [[count('running'), 'running'], [count('done'), 'done'], [run.cached, 'up to date'], [count('failed'), 'failed'], [count('skipped'), 'not run']];
  $('summary').textContent = run.wanted === 0 ? (about && about.status === 'running' ? 'Nothing has been executed yet.' : 'Nothing was executed: everything was up to date.')
    : run.wanted + ' tasks: ' + parts.filter(([n]) => n > 0).map(([n, word]) => n + ' ' + word).join(', ') + ' · ' + seconds(now - run.from);
  $('bar').style.display = run.wanted === 0 ? 'none' : '';
  $('bar').firstChild.style.width = (run.wanted ? 100 * ended / run.wanted : 0) + '%';
  $('bar').firstChild.style.background = run.status === 'done' ? 'var(--done)' : count('failed') ? 'var(--fail)' : '';
  $('bar').setAttribute('aria-valuemax', run.wanted); $('bar').setAttribute('aria-valuenow', ended);
  const begun = tasks.filter((task) => task.from !== null).sort((a, b) => (a.state === 'running' ? 0 : 1) - (b.state === 'running' ? 0 : 1) || b.from - a.from);
  const first = Math.min(...begun.map((task) => task.from)), span = Math.max(1, now - first);
  $('tasks').replaceChildren(...begun.slice(0, 200).flatMap((task) => {
    const end = task.to ?? now;
    const bar = el('i', { title: task.name });
    bar.style.left = 100 * (task.from - first) / span + '%'; bar.style.width = 100 * (end - task.from) / span + '%';
    const progress = task.state === 'running' && task.total > 0 ? Math.floor(100 * task.done / task.total) + ' % · ' : '';
    const row = el('div', { className: 'task ' + task.state }, el('span', { className: 'name', title: task.name }, task.name),
      el('span', { className: 'track', ariaHidden: 'true' }, bar), el('span', { className: 'time' }, progress + seconds(end - task.from) + (task.state === 'done' ? '' : ' · ' + task.state)));
    return task.state === 'failed' ? [row, el('p', { className: 'message' }, task.message)] : [row];
  }));
}

function list() {
  $('runs').replaceChildren(...latest.map((each) => {
    const button = el('button', { type: 'button', onclick: () => { pinned = true; look(each.id); } },
      each.pipeline + (each.profile ? ' · ' + each.profile : '') + ' ', el('span', { className: each.status }, each.status),
      el('small', {}, new Date(each.startedAt).toLocaleString()));
    button.setAttribute('aria-current', String(each.id === shown));
    return el('li', {}, button);
  }));
}

let listed = '';
function results(all) {
  if (JSON.stringify(all) === listed) return;
  listed = JSON.stringify(all);
  const address = (name, path) => '/results/' + [name, ...path.split('/')].map(encodeURIComponent).join('/');
  $('results').replaceChildren(...(all.length === 0 ? ['Nothing has been published yet.'] : all.flatMap(({ name, files, count }) => {
    const isReport = (path) => /(^|\\/)report\\.html$/.test(path);
    const sorted = [...files.filter(isReport), ...files.filter((path) => !isReport(path))];
    return [el('h3', {}, name), el('ul', { className: 'files' }, ...sorted.map((path) => el('li', {}, el('a', { href: address(name, path), className: isReport(path) ? 'first' : '', target: '_blank', rel: 'noopener' }, path)))),
      ...(count > files.length ? [el('p', {}, 'and ' + (count - files.length) + ' more files')] : [])];
  })));
}

async function refresh() {
  try {
    const state = await (await fetch('/api/state')).json();
    latest = state.runs; list(); results(state.results);
    const going = latest.find(({ status }) => status === 'running') ?? latest[0];
    if (going && !pinned) look(going.id);
    $('connection').textContent = '';
  } catch { $('connection').textContent = 'pipe serve does not answer'; }
}
refresh(); setInterval(refresh, 2000); setInterval(() => { if (run?.status === 'running') later(); }, 500);
`;
