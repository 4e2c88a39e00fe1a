/** Figure: how far QLoRA says what LoRA says, by rank, with the threshold, the noise floor and r*. */
import type { TopLevelSpec } from 'vega-lite';
import { formatNumber } from '../shared/format.ts';
import { rowsOf, tableWith } from '../shared/rows.ts';
import type { Study } from '../shared/study.ts';
import { type Figure, frame } from './figure.ts';
import { categorical, config, lines } from './theme.ts';

const measures = [
  { name: 'token_match', label: 'token match' },
  { name: 'embedding_cosine', label: 'embedding cosine' },
  { name: 'seed_match', label: 'token match of two LoRA seeds' },
] as const;

/** The figure of a study that judged ranks; null for any other. */
export function rankThreshold({ tables, rankRule }: Study): Figure | null {
  const table = tableWith(tables, 'rank_threshold', ['rank', 'token_match', 'embedding_cosine']);
  if (table === null || rankRule === null) return null;
  const { threshold, star } = rankRule;
  const rows = rowsOf(table);
  const ranks = rows.map((row) => row.text('rank'));
  const points = rows.flatMap((row) =>
    measures.flatMap(({ name, label }, place) => {
      const value = row.number(name);
      if (value === null) return [];
      const [low, high] = [row.number(`${name}_low`) ?? value, row.number(`${name}_high`) ?? value];
      return [{ rank: row.text('rank'), measure: label, place, value, low, high }];
    }),
  );
  const shown = measures.filter(({ label }) => points.some(({ measure }) => measure === label));
  const values = points.flatMap(({ low, high }) => [low, high]);
  const [bottom, top] = [Math.min(threshold, ...values), Math.max(threshold, ...values)];
  const title = star === null ? `No rank that was tried meets the threshold of ${threshold}` : `r* is ${star}`;
  const subtitle = `Circles: QLoRA beside LoRA of the same rank and seed; bars: the intervals of the table. A rank meets the threshold of ${threshold} (dashed) if both measures do with their whole intervals${star === null ? '' : '; the shaded rank is the smallest that does together with every larger one'}.`;
  const x = { field: 'rank', type: 'ordinal', sort: ranks, title: 'Rank', axis: { labelAngle: 0 } } as const;
  const color = {
    field: 'measure',
    type: 'nominal',
    scale: { domain: shown.map(({ label }) => label), range: [categorical[0], categorical[5], frame.muted] },
    legend: { title: null, orient: 'bottom', direction: 'horizontal', columnPadding: 18, symbolType: 'circle' },
  } as const;
  const xOffset = { field: 'place', type: 'ordinal', scale: { paddingInner: 0.2, paddingOuter: 1.2 } } as const;
  const pad = 0.06 * (top - bottom || 1);
  const domain: [number, number] = [bottom - pad, top + pad];
  const y = {
    type: 'quantitative' as const,
    title: 'Agreement',
    scale: { domain, nice: false },
    axis: { tickCount: 6 },
  } satisfies object;
  const spec: TopLevelSpec = {
    config,
    title: { text: title, subtitle: lines(subtitle, 84) },
    width: 460,
    height: 260,
    layer: [
      ...(star === null
        ? []
        : [
            {
              data: { values: [{ rank: String(star) }] },
              mark: { type: 'bar', color: categorical[2], opacity: 0.14, width: { band: 1 } },
              encoding: { x },
            } as const,
          ]),
      {
        data: { values: [{ threshold }] },
        mark: { type: 'rule', strokeDash: [5, 4], color: frame.ink, strokeWidth: 1.2 },
        encoding: { y: { ...y, field: 'threshold' } },
      },
      {
        data: { values: points },
        mark: { type: 'rule', strokeWidth: 2 },
        encoding: { x, xOffset, y: { ...y, field: 'low' }, y2: { field: 'high' }, color },
      },
      {
        data: { values: points },
        mark: { type: 'point', filled: true, size: 70, opacity: 1 },
        encoding: { x, xOffset, y: { ...y, field: 'value' }, color },
      },
    ],
  };
  const alt = `${title}. Token match by rank: ${rows.map((row) => `${row.text('rank')}: ${formatNumber(row.number('token_match') ?? 0, 3)}`).join(', ')}.`;
  return { name: 'rank_threshold_plot', title, alt, spec };
}
