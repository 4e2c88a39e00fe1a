/** Figure: the performance drop of each configuration, with its interval, its replicates and the noise floor. */
import type { TopLevelSpec } from 'vega-lite';
import type { Results } from '../compare/results.ts';
import { formatDeviation, formatNumber, listed } from '../shared/format.ts';
import { type Figure, frame } from './figure.ts';
import { categorical, config, lines } from './theme.ts';

/** The drops of a comparison; null when no configurations were compared. */
export function performanceDrop({ configurations, comparison, noise }: Results): Figure | null {
  if (configurations.length === 0) return null;
  const { metric, replicate, reference, confidence, rows } = comparison;
  const variants = [...new Set(configurations.map((one) => one.variant))];
  const named = (label: string, variant: string) => (variants.length === 1 ? label : `${label}, ${variant}`);
  const means = configurations.map(({ label, variant, drop, standing }) => ({
    label: named(label, variant),
    mean: drop.value,
    low: drop.interval?.low ?? drop.value,
    high: drop.interval?.high ?? drop.value,
    standing,
  }));
  const points = configurations.flatMap(({ label, variant, pairs }) =>
    pairs.map((pair) => ({ label: named(label, variant), drop: pair.drop, replicate: pair.replicate })),
  );
  const order = means.map((one) => one.label);
  const title = titleOf(configurations, variants, comparison);
  const band =
    noise === null
      ? ''
      : ` Grey band: what another ${replicate} alone changes (one standard deviation, ±${formatDeviation(noise)} %).`;
  const subtitle = `Performance drop: by how much ${metric.label} is worse, in percent of the ${reference} run with the same ${replicate}. Filled circle: mean; bar: ${formatNumber(100 * confidence, 0)} % t interval; open symbols: single ${replicate}s.${band}`;
  const x = { type: 'quantitative', title: `Performance drop by ${metric.label}, %` } as const;
  const y = {
    field: 'label',
    type: 'ordinal',
    sort: order,
    axis: { title: rows.join(', '), labelColor: frame.ink },
  } as const;
  const edges = [0, ...points.map((point) => point.drop), ...means.flatMap((one) => [one.low, one.high])];
  const domain = padded(Math.min(...edges), Math.max(...edges));
  const spec: TopLevelSpec = {
    config,
    title: { text: title, subtitle: lines(subtitle, 84) },
    width: 440,
    height: { step: 56 },
    layer: [
      ...(noise === null
        ? []
        : [
            {
              data: {
                values: [
                  {
                    from: Math.max(domain[0], -noise.deviationPercent),
                    to: Math.min(domain[1], noise.deviationPercent),
                  },
                ],
              },
              mark: { type: 'rect', color: frame.muted, opacity: 0.14 },
              encoding: { x: { ...x, field: 'from' }, x2: { field: 'to' } },
            } as const,
          ]),
      {
        data: { values: [{ zero: 0 }] },
        mark: { type: 'rule', color: frame.muted },
        encoding: { x: { ...x, field: 'zero', scale: { domain, nice: false } } },
      },
      {
        data: { values: means },
        mark: { type: 'rule', strokeWidth: 2, color: categorical[0], yOffset: -7 },
        encoding: { x: { ...x, field: 'low' }, x2: { field: 'high' }, y },
      },
      {
        data: { values: means },
        mark: { type: 'point', filled: true, size: 90, opacity: 1, color: categorical[0], yOffset: -7 },
        encoding: { x: { ...x, field: 'mean' }, y },
      },
      {
        data: { values: points },
        mark: { type: 'point', size: 55, strokeWidth: 1.6, opacity: 1, color: categorical[5], yOffset: 10 },
        encoding: {
          x: { ...x, field: 'drop' },
          y,
          shape: {
            field: 'replicate',
            type: 'nominal',
            sort: [...new Set(points.map((point) => point.replicate))],
            legend: { title: replicate, symbolStrokeColor: categorical[5] },
          },
        },
      },
    ],
  };
  const alt = `Performance drop by ${metric.label}: ${means.map((one) => `${one.label} ${formatNumber(one.mean, 2)} %`).join(', ')}.`;
  return { name: 'performance_drop', title, alt, spec };
}

/** The configurations whose drop can be told from zero. */
function titleOf(
  configurations: Results['configurations'],
  variants: readonly string[],
  { metric, reference }: Results['comparison'],
): string {
  const what = listed(variants);
  const costly = configurations.filter(({ drop }) => drop.interval !== null && drop.interval.low > 0);
  const names = costly.map(({ label, variant }) => (variants.length === 1 ? label : `${label}, ${variant}`));
  if (costly.length === 0) return `What ${what} costs in ${metric.label} cannot be told from zero`;
  if (costly.length === configurations.length) return `${what} costs ${metric.label} against ${reference} everywhere`;
  return `${what} costs ${metric.label} with ${listed(names)}; elsewhere no cost can be told`;
}

function padded(low: number, high: number): [number, number] {
  const room = 0.06 * (high - low || 1);
  return [low - room, high + room];
}
