/** Figure: what each method takes for each shape, planned and by formula, on one scale from megabytes to terabytes. */
import { type Figure, frame } from '../plot/figure.ts';
import { categorical, config, lines } from '../plot/theme.ts';
import { formatNumber } from '../shared/format.ts';
import { methods, type Setting } from './methods.ts';
import type { PlannedMethod } from './tables.ts';

/** A dot for each plan of the whole step, and a tick for what the formula says. */
export function memoryComparison(planned: readonly PlannedMethod[], { batch, length, rank, targets }: Setting): Figure {
  const rows = planned.map(({ shape, method, formula, step }) => ({
    model: shape.name,
    method: method.name,
    planned: step.total / 1e9,
    formula: formula / 1e9,
  }));
  const models = [...new Set(rows.map(({ model }) => model))];
  const title = titleOf(planned);
  const subtitle = `Dots: planned peak with activations, ${batch} sequences of ${length} tokens, rank ${rank} on ${targets.join(', ')}; exact for the program. Bars: the formulas ${methods.map(({ words }) => words).join(', ')} bytes, which leave activations out. Each step of the scale is a factor of ten.`;
  const y = {
    field: 'model',
    type: 'nominal',
    sort: models,
    axis: { title: null, ticks: false, domain: false },
  } as const;
  const offset = { field: 'method', type: 'nominal', sort: methods.map(({ name }) => name) } as const;
  const color = {
    field: 'method',
    type: 'nominal',
    scale: { domain: methods.map(({ name }) => name), range: categorical.slice(0, methods.length) },
    legend: { title: null, orient: 'bottom', direction: 'horizontal', symbolType: 'circle', columnPadding: 18 },
  } as const;
  const decades = decadesAround(rows.flatMap(({ planned, formula }) => [planned, formula]));
  const x = (field: string) => ({
    field,
    type: 'quantitative' as const,
    scale: { type: 'log' as const, domain: [decades[0]!, decades.at(-1)!], nice: false },
    title: 'GB (1e9 bytes), logarithmic',
    axis: { values: decades, format: '~g', grid: true },
  });
  const shown = (value: number) => `${formatNumber(value, value < 1 ? 3 : 1)} GB`;
  return {
    name: 'memory_comparison',
    title,
    alt: `Planned peak memory: ${rows.map((row) => `${row.model} ${row.method} ${shown(row.planned)}`).join(', ')}.`,
    spec: {
      config,
      title: { text: title, subtitle: lines(subtitle, 92) },
      data: { values: rows },
      width: 520,
      height: { step: 16 },
      encoding: { y, yOffset: offset },
      layer: [
        {
          mark: { type: 'tick', thickness: 2.5, size: 13, opacity: 0.75 },
          encoding: { x: x('formula'), color },
        },
        {
          mark: { type: 'point', filled: true, size: 64, opacity: 1, stroke: frame.paper, strokeWidth: 0.8 },
          encoding: { x: x('planned'), color },
        },
        {
          mark: { type: 'text', align: 'left', dx: 9, fontSize: 10, color: frame.muted },
          transform: [{ calculate: "format(datum.planned, datum.planned < 1 ? '.3f' : ',.1f')", as: 'shown' }],
          encoding: { x: x('planned'), text: { field: 'shown', type: 'nominal' } },
        },
      ],
    },
  };
}

/** What 4 bits take off the step of LoRA, for the smallest and the largest base. */
function titleOf(planned: readonly PlannedMethod[]): string {
  const saved = [...new Set(planned.map(({ shape }) => shape))].flatMap((shape) => {
    const [lora, qlora] = ['LoRA', 'QLoRA'].map((name) =>
      planned.find((one) => one.shape === shape && one.method.name === name),
    );
    if (lora === undefined || qlora === undefined) return [];
    return [{ name: shape.name, weights: lora.step.weights, percent: 100 * (1 - qlora.step.total / lora.step.total) }];
  });
  const bySize = saved.toSorted((a, b) => a.weights - b.weights);
  const [least, most] = [bySize[0], bySize.at(-1)];
  if (least === undefined || most === undefined || least === most)
    return 'Memory of a training step, by model and method';
  const told = ({ name, percent }: typeof least) => `${formatNumber(percent, 0)} % of LoRA's memory with ${name}`;
  return `A 4-bit base saves ${told(least)}, ${formatNumber(most.percent, 0)} % with ${most.name}`;
}

/** The powers of ten from at or below the smallest value to at or above the largest. */
function decadesAround(values: readonly number[]): number[] {
  const first = Math.floor(Math.log10(Math.min(...values)));
  const last = Math.ceil(Math.log10(Math.max(...values)));
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}
