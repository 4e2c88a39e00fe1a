/** Figure: how alike two adapters are, layer by layer, with what somebody else published of some layers. */
import type { TopLevelSpec } from 'vega-lite';
import { formatNumber } from '../shared/format.ts';
import { rowsOf, tableWith } from '../shared/rows.ts';
import type { Study } from '../shared/study.ts';
import { type Figure, frame } from './figure.ts';
import { categorical, config, lines } from './theme.ts';

const panels = [
  { name: 'cosine', label: 'Cosine of B A' },
  { name: 'relative_difference', label: 'Relative difference' },
] as const;

/** The figure of a comparison of two adapters; null for any other study. */
export function adaptersByLayer({ tables }: Study): Figure | null {
  const table = tableWith(tables, 'adapters_by_layer', ['layer', 'cosine', 'relative_difference']);
  if (table === null) return null;
  const all = rowsOf(table);
  const layers = all.filter((row) => row.text('layer') !== 'all');
  const whole = all.find((row) => row.text('layer') === 'all');
  const check = tableWith(tables, 'published_check', ['layer', 'cosine_published', 'relative_difference_published']);
  const published = check === null ? [] : rowsOf(check);
  const values = panels.flatMap(({ name, label }) => [
    ...layers.map((row) => ({ panel: label, from: 'here', layer: Number(row.text('layer')), value: row.number(name) })),
    ...published.map((row) => ({
      panel: label,
      from: 'published',
      layer: Number(row.text('layer')),
      value: row.number(`${name}_published`),
    })),
  ]);
  const overall = whole?.number('cosine') ?? null;
  const title =
    overall === null
      ? 'How alike the two adapters are, by layer'
      : `The two updates have a cosine of ${formatNumber(overall, 2)} over all layers`;
  const subtitle = `Their updates B A in each layer.${published.length === 0 ? '' : ' Rings: as published, to four digits.'}${whole === undefined ? '' : ' Dashed: all layers as one.'}`;
  const x = { field: 'layer', type: 'quantitative', title: 'Layer', axis: { tickMinStep: 1, grid: false } };
  const panelOf = ({ name, label }: (typeof panels)[number]) => {
    const y = { type: 'quantitative', title: label, scale: { zero: false }, axis: { tickCount: 5 } };
    return {
      width: 250,
      height: 190,
      layer: [
        ...(whole === undefined
          ? []
          : [
              {
                data: { values: [{ value: whole.number(name) }] },
                mark: { type: 'rule', strokeDash: [5, 4], color: frame.muted },
                encoding: { y: { ...y, field: 'value' } },
              },
            ]),
        {
          data: { values: values.filter((point) => point.panel === label && point.from === 'here') },
          mark: { type: 'line', color: categorical[0], point: { filled: true, size: 36, color: categorical[0] } },
          encoding: { x, y: { ...y, field: 'value' } },
        },
        {
          data: { values: values.filter((point) => point.panel === label && point.from === 'published') },
          mark: { type: 'point', filled: false, size: 150, strokeWidth: 2, color: categorical[5], opacity: 1 },
          encoding: { x, y: { ...y, field: 'value' } },
        },
      ],
    };
  };
  const spec = {
    config,
    title: { text: title, subtitle: lines(subtitle, 84) },
    spacing: 44,
    hconcat: panels.map(panelOf),
  } as unknown as TopLevelSpec;
  const told = layers.toSorted((a, b) => (a.number('cosine') ?? 0) - (b.number('cosine') ?? 0));
  const name = (row: (typeof layers)[number] | undefined) =>
    row === undefined ? 'none' : `layer ${row.text('layer')}, ${formatNumber(row.number('cosine') ?? 0, 4)}`;
  const alt = `Cosine of the updates over ${layers.length} layers: the least alike is ${name(told[0])}, the most ${name(told.at(-1))}.`;
  return { name: 'adapters_by_layer', title, alt, spec };
}
