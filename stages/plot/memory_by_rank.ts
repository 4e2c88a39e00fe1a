/** Figure: the peak memory of a training step with LoRA and with QLoRA, by rank. */
import type { TopLevelSpec } from 'vega-lite';
import { decimalsFor, formatNumber, formatRange } from '../shared/format.ts';
import { rowsOf, tableWith } from '../shared/rows.ts';
import type { Study } from '../shared/study.ts';
import { type Figure, frame } from './figure.ts';
import { categorical, config, lines } from './theme.ts';

const methods = [
  { name: 'lora_mb', published: 'published_lora_mb', label: 'LoRA' },
  { name: 'qlora_mb', published: 'published_qlora_mb', label: 'QLoRA' },
] as const;

/** Where the bars are from; the second is there only where somebody else published such figures. */
const panels = ['here', 'published'] as const;

/** The figure of a study with a table of memory by rank; null for any other. */
export function memoryByRank({ tables }: Study): Figure | null {
  const table = tableWith(tables, 'memory_by_rank', ['rank', 'lora_mb', 'qlora_mb']);
  if (table === null) return null;
  const rows = rowsOf(table);
  const bars = rows.flatMap((row) =>
    methods.flatMap(({ name, published, label }) =>
      panels.flatMap((panel) => {
        const megabytes = row.number(panel === 'here' ? name : published);
        return megabytes === null ? [] : [{ panel, rank: row.text('rank'), method: label, megabytes }];
      }),
    ),
  );
  const shown = panels.filter((panel) => bars.some((bar) => bar.panel === panel));
  const reductions = rows.flatMap((row) => {
    const [lora, qlora] = [row.number('lora_mb'), row.number('qlora_mb')];
    return lora === null || qlora === null ? [] : [100 * (1 - qlora / lora)];
  });
  const title = `In this study QLoRA takes ${formatRange(reductions, 1)} % less memory than LoRA, at every rank`;
  const subtitle = `Planned for a training step here${shown.length > 1 ? ', and as published for GPT-2 Medium: other model, other program, other scale' : ''}. 1 MB is a million bytes.`;
  const panelOf = (panel: (typeof panels)[number]) => {
    const own = bars.filter((bar) => bar.panel === panel);
    const decimals = panel === 'here' ? decimalsFor(own.map(({ megabytes }) => megabytes)) : 0;
    const values = own.map((bar) => ({ ...bar, text: formatNumber(bar.megabytes, decimals) }));
    const y = { field: 'method', type: 'nominal', axis: null } as const;
    return {
      title: { text: panel === 'here' ? 'This study' : 'Published', fontSize: 13, offset: 8 },
      data: { values },
      facet: {
        row: {
          field: 'rank',
          type: 'ordinal',
          sort: rows.map((row) => row.text('rank')),
          header: { title: panel === 'here' ? 'Rank' : null, labelAngle: 0, labelAlign: 'left' },
        },
      },
      spacing: 10,
      spec: {
        width: 210,
        height: { step: 20 },
        layer: [
          {
            mark: { type: 'bar' },
            encoding: {
              x: { field: 'megabytes', type: 'quantitative', title: 'MB', axis: { tickCount: 4, grid: false } },
              y,
              color: {
                field: 'method',
                type: 'nominal',
                scale: { domain: methods.map(({ label }) => label), range: [categorical[0], categorical[1]] },
                legend: { title: null, orient: 'bottom', direction: 'horizontal', symbolType: 'square' },
              },
            },
          },
          {
            mark: { type: 'text', align: 'left', dx: 5, color: frame.ink, fontSize: 11 },
            encoding: { x: { field: 'megabytes', type: 'quantitative' }, y, text: { field: 'text' } },
          },
        ],
      },
    };
  };
  const spec = {
    config,
    title: { text: title, subtitle: lines(subtitle, 84) },
    spacing: 48,
    hconcat: shown.map(panelOf),
  } as unknown as TopLevelSpec;
  const alt = `Peak memory: ${rows.map((row) => `rank ${row.text('rank')} LoRA ${row.text('lora_mb')} MB, QLoRA ${row.text('qlora_mb')} MB`).join('; ')}.`;
  return { name: 'memory_comparison', title, alt, spec };
}
