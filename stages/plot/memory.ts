/** Figure: the planned peak memory of a training step, by what it is for. */
import type { TopLevelSpec } from 'vega-lite';
import type { Memory, Results } from '../compare/results.ts';
import { decimalsFor, formatNumber, formatRange, listed } from '../shared/format.ts';
import { type Figure, frame } from './figure.ts';
import { categorical, config, lines } from './theme.ts';

const groups = ['weights', 'adapters', 'optimizer', 'activations'] as const;

/** Peak memory by configuration; null when no summaries were given. */
export function peakMemory({ configurations, comparison }: Results): Figure | null {
  const bars = configurations.flatMap(({ label, variant, memory }) =>
    memory === null
      ? []
      : [
          { label, value: comparison.reference, memory: memory.reference },
          { label, value: variant, memory: memory.variant },
        ],
  );
  // The reference of a configuration comes once for every variant.
  const unique = bars.filter(
    (bar, i) => bars.findIndex((other) => other.label === bar.label && other.value === bar.value) === i,
  );
  if (unique.length === 0) return null;
  const decimals = decimalsFor(unique.map((bar) => bar.memory.total / 1e6));
  const totalText = (memory: Memory) => `${formatNumber(memory.total / 1e6, decimals)} MB`;
  const labels = [...new Set(unique.map((bar) => bar.label))];
  const values = [...new Set(unique.map((bar) => bar.value))];
  const saved = configurations.flatMap(({ memory }) =>
    memory === null ? [] : [100 * (1 - memory.variant.total / memory.reference.total)],
  );
  const variants = [...new Set(configurations.map(({ variant }) => variant))];
  const title = `${listed(variants)} takes ${formatRange(saved, 1)} % less memory in a step than ${comparison.reference}`;
  const subtitle =
    'Planned before the run and exact for the program, by what the memory is for; 1 MB is a million bytes.';
  const y = {
    field: 'value',
    type: 'nominal',
    sort: values,
    axis: { title: null, ticks: false, domain: false },
  } as const;
  const spec: TopLevelSpec = {
    config,
    title: { text: title, subtitle: lines(subtitle, 84) },
    data: {
      values: unique.flatMap(({ label, value, memory }) =>
        groups.map((group, stack) => ({
          label,
          value,
          group,
          stack,
          megabytes: memory[group] / 1e6,
          total: memory.total / 1e6,
          text: totalText(memory),
        })),
      ),
    },
    spacing: 12,
    facet: {
      row: {
        field: 'label',
        type: 'ordinal',
        sort: labels,
        header: { title: null, labelAngle: 0, labelAlign: 'left', labelAnchor: 'middle' },
      },
    },
    spec: {
      width: 400,
      height: { step: 24 },
      encoding: { y },
      layer: [
        {
          mark: { type: 'bar', stroke: frame.paper, strokeWidth: 0.8 },
          encoding: {
            x: {
              field: 'megabytes',
              type: 'quantitative',
              stack: 'zero',
              title: 'MB',
              axis: { tickCount: 6, grid: false },
            },
            order: { field: 'stack', type: 'quantitative' },
            color: {
              field: 'group',
              type: 'nominal',
              scale: { domain: [...groups], range: [...categorical] },
              legend: {
                title: null,
                orient: 'bottom',
                direction: 'horizontal',
                symbolType: 'square',
                columnPadding: 18,
              },
            },
          },
        },
        {
          transform: [{ filter: 'datum.stack === 0' }],
          mark: { type: 'text', align: 'left', dx: 6, color: frame.ink },
          encoding: { x: { field: 'total', type: 'quantitative' }, text: { field: 'text', type: 'nominal' } },
        },
      ],
    },
  };
  const alt = `Peak memory: ${unique.map((bar) => `${bar.label} ${bar.value} ${totalText(bar.memory)}`).join(', ')}.`;
  return { name: 'memory', title, alt, spec };
}
