/** The grid of trained models on the page: filters, a table of the runs and their loss curves. */
import type { TopLevelSpec } from 'vega-lite';
import type { Column } from '../compare/results.ts';
import type { Figure } from '../plot/figure.ts';
import { categorical, config } from '../plot/theme.ts';
import { decimalsFor } from '../shared/format.ts';
import { type Html, html } from './html.ts';
import type { Run } from './runs.ts';
import { tableRow } from './table.ts';

/** What the grid can be filtered by. */
export const filters = ['targets', 'rank', 'precision'] as const;

/** The grid; its curves are drawn by `curvesFigure` and put in as `curves`. */
export function gridOf(runs: readonly Run[], curves: Html): Html {
  const columns = columnsOf(runs);
  const rows = runs.map((run) => {
    const cells = [
      run.targets,
      run.rank,
      run.precision,
      run.seed,
      ...(columns.some(({ name }) => name === 'besides') ? [run.besides] : []),
      run.trainingLoss,
      run.heldOutLoss,
      run.peak / 1e6,
      run.secondsPerStep === null ? null : 1000 * run.secondsPerStep,
    ];
    const marks = html` data-targets="${run.targets}" data-rank="${run.rank}" data-precision="${run.precision}"`;
    return tableRow(cells, columns, run.record === null ? [] : [run.record], marks.markup);
  });
  return html`<form class="filters" id="filters" aria-label="Filter the grid">${filters.map((name) => filterOf(name, runs))}
<p class="count" id="grid-count" role="status">${runs.length} of ${runs.length} runs</p></form>
${curves}
<div class="card${runs.length > 14 ? ' long' : ''}"><h3 id="runs-title">Every trained model</h3>
<div class="scroll" role="region" aria-labelledby="runs-title" tabindex="0"><table id="grid-table" aria-labelledby="runs-title">
<thead><tr>${columns.map((column) => html`<th scope="col" class="${column.kind}">${column.label}</th>`)}</tr></thead>
<tbody>${rows}</tbody>
</table></div>
<p class="note">One row a run; losses in nats per token, the held-out one on the examples that training watches. Peak memory of a step is planned and exact; 1 MB is 1,000,000 bytes. The time of a step is the mean over the run, on the machine that its record names, with whatever else ran there.</p></div>`;
}

function filterOf(name: (typeof filters)[number], runs: readonly Run[]): Html {
  const values = [...new Set(runs.map((run) => run[name]))].sort((a, b) =>
    typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b)),
  );
  return html`<fieldset><legend>${name.charAt(0).toUpperCase() + name.slice(1)}</legend>${values.map(
    (value) =>
      html`<label><input type="checkbox" name="${name}" value="${value}" checked><span>${value}</span></label>`,
  )}</fieldset>`;
}

function columnsOf(runs: readonly Run[]): readonly Column[] {
  const decimals = (values: readonly (number | null)[]) => decimalsFor(values.filter((value) => value !== null));
  return [
    { name: 'targets', label: 'Targets', kind: 'text' },
    { name: 'rank', label: 'Rank', kind: 'number', decimals: 0 },
    { name: 'precision', label: 'Precision', kind: 'text' },
    { name: 'seed', label: 'Seed', kind: 'text' },
    ...(runs.some(({ besides }) => besides !== '')
      ? [{ name: 'besides', label: 'Besides', kind: 'text' } as const]
      : []),
    { name: 'training_loss', label: 'Training loss', kind: 'number', decimals: 4 },
    { name: 'held_out_loss', label: 'Held-out loss', kind: 'number', decimals: 4 },
    { name: 'peak_mb', label: 'Peak MB', kind: 'number', decimals: decimals(runs.map(({ peak }) => peak / 1e6)) },
    {
      name: 'step_ms',
      label: 'Step, ms',
      kind: 'number',
      decimals: decimals(runs.map(({ secondsPerStep }) => (secondsPerStep === null ? null : 1000 * secondsPerStep))),
    },
  ];
}

/** The held-out losses of every run over its steps; null where no curve was given. */
export function curvesFigure(runs: readonly Run[]): Figure | null {
  const points = runs.flatMap(({ targets, rank, precision, seed, besides, curve }, run) =>
    curve.flatMap(({ step, validation }) =>
      validation === null ? [] : [{ run, targets, rank, precision, seed, besides, step, loss: validation }],
    ),
  );
  if (points.length === 0) return null;
  const precisions = [...new Set(points.map(({ precision }) => precision))].sort();
  const spec: TopLevelSpec = {
    config,
    data: { name: 'curves', values: points },
    width: 640,
    height: 240,
    mark: { type: 'line', strokeWidth: 1.4, opacity: 0.6, point: { size: 22, filled: true, opacity: 0.8 } },
    encoding: {
      x: { field: 'step', type: 'quantitative', title: 'Step', axis: { tickCount: 6, grid: false } },
      y: {
        field: 'loss',
        type: 'quantitative',
        title: 'Held-out loss, nats per token',
        scale: { zero: false },
        axis: { tickCount: 5 },
      },
      detail: { field: 'run' },
      color: {
        field: 'precision',
        type: 'nominal',
        scale: { domain: precisions, range: [...categorical] },
        legend: { title: null, orient: 'top', symbolType: 'stroke', symbolStrokeWidth: 3, symbolOpacity: 1 },
      },
      tooltip: [
        { field: 'targets', title: 'targets' },
        { field: 'rank', title: 'rank' },
        { field: 'precision', title: 'precision' },
        { field: 'seed', title: 'seed' },
        { field: 'step', title: 'step' },
        { field: 'loss', title: 'held-out loss', format: '.4f' },
      ],
    },
  };
  return {
    name: 'grid_curves',
    title: 'Held-out loss of every run',
    alt: `Held-out loss over the steps of ${runs.length} runs; the table below has the last of each.`,
    spec,
  };
}
