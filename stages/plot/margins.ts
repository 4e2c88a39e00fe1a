/** Figure: token match by how sure the reference is of its token, for quantization and for the controls. */
import type { TopLevelSpec } from 'vega-lite';
import { formatNumber } from '../shared/format.ts';
import { type Row, rowsOf, tableWith } from '../shared/rows.ts';
import type { Study } from '../shared/study.ts';
import { type Figure, frame } from './figure.ts';
import { categorical, config, lines } from './theme.ts';

/** The comparisons that are drawn, as far as the table has them. */
const shown = [
  { control: 'nf4', label: 'quantization' },
  { control: 'both', label: 'another seed' },
] as const;

/** The figure of a study that told token match by margin; null for any other. */
export function matchByMargin({ tables }: Study): Figure | null {
  const table = tableWith(tables, 'margins', ['comparison', 'margin_from', 'margin_to', 'tokens', 'token_match']);
  if (table === null) return null;
  const rows = rowsOf(table);
  const series = shown.flatMap(({ control, label }) => {
    const own = rows.filter((row) => row.text('comparison') === control && row.number('token_match') !== null);
    return own.length < 2 ? [] : [{ label, rows: own }];
  });
  const [first] = series;
  if (first === undefined) return null;
  const points = series.flatMap(({ label, rows: own }) =>
    own.map((row) => ({
      series: label,
      margin: binText(row),
      tokens: row.number('tokens'),
      match: row.number('token_match'),
    })),
  );
  const [unsure, sure] = [first.rows[0]!, first.rows.at(-1)!];
  const percent = (row: Row) => `${formatNumber(100 * row.number('token_match')!, 1)} %`;
  const title = `Of tokens that the reference hardly chose, ${percent(unsure)} stay; of those it was sure of, ${percent(sure)}`;
  const subtitle =
    'Token match of two models on the same text, by the margin of the 16-bit one: how far its most likely token is above the second, in nats. The numbers say how many tokens of all seeds a bin holds.';
  const x = {
    field: 'margin',
    type: 'ordinal',
    sort: [...new Set(points.map(({ margin }) => margin))],
    title: 'Margin of the reference, nats',
    axis: { labelAngle: 0, ticks: false },
  } as const;
  const y = {
    field: 'match',
    type: 'quantitative',
    title: 'Token match',
    scale: { zero: false },
    axis: { tickCount: 6 },
  } as const;
  const labels = series.map(({ label }) => label);
  const named = {
    field: 'series',
    type: 'nominal',
    legend: { title: null, orient: 'bottom', direction: 'horizontal', columnPadding: 18 },
  } as const;
  const spec: TopLevelSpec = {
    config,
    title: { text: lines(title, 64), subtitle: lines(subtitle, 84) },
    data: { values: points },
    width: 460,
    height: 230,
    encoding: {
      x,
      y,
      color: { ...named, scale: { domain: labels, range: [categorical[5], categorical[0]] } },
      shape: { ...named, scale: { domain: labels, range: ['circle', 'square'] } },
    },
    layer: [
      { mark: { type: 'line', strokeWidth: 2 } },
      { mark: { type: 'point', filled: true, size: 64, opacity: 1 } },
      {
        transform: [{ filter: { field: 'series', equal: first.label } }],
        mark: { type: 'text', dy: -12, fontSize: 10 },
        encoding: { text: { field: 'tokens', format: ',' }, color: { value: frame.muted }, shape: { value: 'circle' } },
      },
    ],
  };
  return {
    name: 'match_by_margin',
    title,
    alt: `Token match by margin: ${points.map(({ series: label, margin, match }) => `${label} ${margin}: ${formatNumber(match!, 3)}`).join(', ')}.`,
    spec,
  };
}

function binText(row: Row): string {
  const [from, to] = [row.text('margin_from'), row.text('margin_to')];
  return to === 'no end' ? `over ${from}` : `${from} to ${to}`;
}
