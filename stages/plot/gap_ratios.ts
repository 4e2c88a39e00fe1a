/** Figure: the gap that quantization makes in units of the gap of each control, measure by measure. */
import type { TopLevelSpec } from 'vega-lite';
import { formatNumber, listed } from '../shared/format.ts';
import { type Row, rowsOf, tableWith } from '../shared/rows.ts';
import type { Study } from '../shared/study.ts';
import { type Figure, frame } from './figure.ts';
import { categorical, config, lines } from './theme.ts';

/** The control that is another seed altogether: the noise floor. */
const anotherSeed = 'both';

const words: Readonly<Record<string, string>> = {
  order: 'another order of the data',
  init: 'another first A',
  [anotherSeed]: 'both: another seed',
};

/** The figure of a study with gaps; null for any other. */
export function gapRatios({ tables }: Study): Figure | null {
  const table = tableWith(tables, 'gaps', ['measure', 'against', 'ratio', 'ratio_low', 'ratio_high']);
  if (table === null) return null;
  const rows = rowsOf(table).filter((row) => row.number('ratio') !== null);
  if (rows.length === 0) return null;
  const label = (against: string) => words[against] ?? against;
  const points = rows.map((row) => ({
    measure: row.text('measure'),
    against: label(row.text('against')),
    ratio: row.number('ratio'),
    low: row.number('ratio_low') ?? row.number('ratio'),
    high: row.number('ratio_high') ?? row.number('ratio'),
  }));
  const controls = [...new Set(points.map(({ against }) => against))];
  const seeds = rows.filter((row) => row.text('against') === anotherSeed);
  const title = titleOf(seeds);
  const subtitle =
    'Gap between QLoRA and LoRA with one seed, over the gap between two LoRA runs that differ in what the colour says. At 1 (dashed) quantization changes as much as that does. Bars: the intervals of the table, paired by layer or prompt and by seed.';
  const x = {
    type: 'quantitative',
    title: 'Gap of quantization / gap of the control',
    axis: { tickCount: 7 },
  } as const;
  const shared = {
    y: {
      field: 'measure',
      type: 'nominal',
      sort: [...new Set(points.map(({ measure }) => measure))],
      title: null,
      axis: { labelColor: frame.ink, ticks: false, domain: false, labelLimit: 260 },
    },
    yOffset: { field: 'against', type: 'nominal', sort: controls },
    color: {
      field: 'against',
      type: 'nominal',
      scale: { domain: controls, range: [categorical[4], categorical[1], categorical[0]] },
      legend: { title: null, orient: 'bottom', direction: 'horizontal', columnPadding: 18, symbolType: 'circle' },
    },
  } as const;
  const spec: TopLevelSpec = {
    config,
    title: { text: title, subtitle: lines(subtitle, 92) },
    data: { values: points },
    width: 400,
    height: { step: 15 },
    layer: [
      {
        data: { values: [{ one: 1 }] },
        mark: { type: 'rule', strokeDash: [5, 4], color: frame.ink, strokeWidth: 1.2 },
        encoding: { x: { ...x, field: 'one' } },
      },
      {
        mark: { type: 'rule', strokeWidth: 2 },
        encoding: { ...shared, x: { ...x, field: 'low' }, x2: { field: 'high' } },
      },
      {
        mark: { type: 'point', filled: true, size: 64, opacity: 1 },
        encoding: { ...shared, x: { ...x, field: 'ratio' } },
      },
    ],
  };
  const told = (seeds.length > 0 ? seeds : rows).map(
    (row) => `${row.text('measure')} ${formatNumber(row.number('ratio')!, 2)}`,
  );
  return {
    name: 'gap_ratios',
    title,
    alt: `${title}. Ratios against ${label(anotherSeed)}: ${told.join(', ')}.`,
    spec,
  };
}

/** What the intervals of the ratios against another seed allow to be said. */
function titleOf(seeds: readonly Row[]): string {
  const below = seeds.filter((row) => (row.number('ratio_high') ?? 1) < 1).length;
  const above = seeds.filter((row) => (row.number('ratio_low') ?? 1) > 1).length;
  if (seeds.length > 0 && below === seeds.length)
    return 'By every measure, quantization changes less than another seed';
  if (seeds.length > 0 && above === seeds.length)
    return 'By every measure, quantization changes more than another seed';
  if (seeds.length === 0) return 'What quantization changes, beside the controls';
  const open = seeds.length - below - above;
  const parts = [
    ...(below > 0 ? [`${below} less than another seed does`] : []),
    ...(above > 0 ? [`${above} more${below > 0 ? '' : ' than another seed does'}`] : []),
  ];
  return `Of ${seeds.length} measures, quantization moves ${parts.length === 0 ? 'none' : listed(parts)}${open === 0 ? '' : `; ${open} cannot be told from a seed's`}`;
}
