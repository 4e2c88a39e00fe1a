/** Figure: the time of a training step with LoRA and with QLoRA, by configuration. */
import type { TopLevelSpec } from 'vega-lite';
import { formatNumber, formatRange } from '../shared/format.ts';
import { rowsOf, tableWith } from '../shared/rows.ts';
import type { Study } from '../shared/study.ts';
import { type Figure, frame } from './figure.ts';
import { categorical, config, lines } from './theme.ts';

const methods = [
  { name: 'lora_ms', label: 'LoRA' },
  { name: 'qlora_ms', label: 'QLoRA' },
] as const;

/** The figure of a study that timed steps; null for any other. */
export function stepTime({ tables }: Study): Figure | null {
  const table = tableWith(tables, 'step_time', ['configuration', 'lora_ms', 'qlora_ms', 'machine']);
  if (table === null) return null;
  const rows = rowsOf(table);
  const times = rows.flatMap((row) =>
    methods.flatMap(({ name, label }) => {
      const ms = row.number(name);
      return ms === null ? [] : [{ configuration: row.text('configuration'), method: label, ms }];
    }),
  );
  const ratios = rows.flatMap((row) => {
    const ratio = row.number('relative_speed');
    const most = Math.max(row.number('lora_ms') ?? 0, row.number('qlora_ms') ?? 0);
    return ratio === null
      ? []
      : [{ configuration: row.text('configuration'), most, text: `${formatNumber(ratio, 2)} ×` }];
  });
  const machines = [...new Set(rows.map((row) => row.text('machine')))].join('; ');
  const relative = rows.flatMap((row) => row.number('relative_speed') ?? []);
  const title =
    relative.length === 0
      ? 'Time of a training step'
      : `A step on the 4-bit base takes ${formatRange(relative, 2)} times as long`;
  const subtitle = `Medians over timed steps, on ${machines}. At the end: the median of QLoRA's time over LoRA's, step by step.`;
  const y = {
    field: 'configuration',
    type: 'ordinal',
    sort: rows.map((row) => row.text('configuration')),
    title: null,
    axis: { ticks: false, domain: false, labelColor: frame.ink },
  } as const;
  const spec: TopLevelSpec = {
    config,
    title: { text: title, subtitle: lines(subtitle, 84) },
    width: 420,
    height: { step: 34 },
    layer: [
      {
        data: { values: ratios.map((row) => ({ ...row, from: 0 })) },
        mark: { type: 'rule', color: frame.rule, strokeWidth: 1 },
        encoding: { y, x: { field: 'from', type: 'quantitative' }, x2: { field: 'most' } },
      },
      {
        data: { values: times },
        mark: { type: 'point', filled: true, size: 90, opacity: 1 },
        encoding: {
          y,
          x: { field: 'ms', type: 'quantitative', title: 'Milliseconds', axis: { tickCount: 6, grid: false } },
          color: {
            field: 'method',
            type: 'nominal',
            scale: { domain: methods.map(({ label }) => label), range: [categorical[0], categorical[1]] },
            legend: { title: null, orient: 'bottom', direction: 'horizontal', symbolType: 'circle', columnPadding: 18 },
          },
        },
      },
      {
        data: { values: ratios },
        mark: { type: 'text', align: 'left', dx: 12, color: frame.ink },
        encoding: { y, x: { field: 'most', type: 'quantitative' }, text: { field: 'text' } },
      },
    ],
  };
  const alt = `Time of a step on ${machines}: ${rows.map((row) => `${row.text('configuration')} LoRA ${row.text('lora_ms')} ms, QLoRA ${row.text('qlora_ms')} ms`).join('; ')}.`;
  return { name: 'step_time', title, alt, spec };
}
