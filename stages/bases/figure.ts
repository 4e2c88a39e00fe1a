/** Figure: what each base loses, without adapters and with adapters trained on it. */
import type { Configuration, Estimate } from '../compare/results.ts';
import { type Figure, frame } from '../plot/figure.ts';
import { categorical, config, lines } from '../plot/theme.ts';
import { formatNumber, formatSigned, listed } from '../shared/format.ts';
import type { Axis, Base } from './measures.ts';

const untrained = 'without adapters';

/** Changes of held-out loss in percent, with intervals, a row for each base but the reference. */
export function baseLosses(bases: readonly Base[], configurations: readonly Configuration[], axis: Axis): Figure {
  const sizes = new Map(
    bases.map(({ name, bytes, meanBits }) => [
      name,
      axis.name === 'bits'
        ? `${name} bits (${megabytes(bytes)})`
        : `${name} (${formatNumber(meanBits, 1)} bits, ${megabytes(bytes)})`,
    ]),
  );
  const row = (name: string, series: string, { value, interval }: Estimate) => ({
    base: sizes.get(name) ?? name,
    series,
    value,
    low: interval?.low ?? value,
    high: interval?.high ?? value,
    shown: `${formatSigned(value, Math.abs(value) < 10 ? 2 : 0)}%`,
  });
  const rows = [
    ...bases.flatMap(({ name, percent }) => (percent === null ? [] : [row(name, untrained, percent)])),
    ...configurations.map(({ label, variant, drop }) => row(variant, `adapters on ${label}`, drop)),
  ];
  const series = [...new Set(rows.map((one) => one.series))];
  // One scale for a tenth of a percent and for fifty: where there is both.
  const wide = rows.some(({ low, high }) => Math.max(-low, high) > 5);
  const title = titleOf(bases, axis);
  const subtitle = `Change in percent. Bars: without adapters, bootstrapped over examples for all bases together; with adapters, Student's t over seeds.${wide ? ' The scale is linear near 0 and logarithmic beyond 1 %.' : ''}`;
  const x = {
    type: 'quantitative' as const,
    scale: wide ? { type: 'symlog' as const, constant: 1 } : { type: 'linear' as const },
    title: 'Change of held-out loss, %',
    axis: wide ? { values: [-10, -1, 0, 1, 10, 100], grid: true } : { tickCount: 6, grid: true },
  };
  const shared = {
    y: {
      field: 'base',
      type: 'nominal' as const,
      sort: [...new Set(rows.map(({ base }) => base))],
      axis: { title: null, ticks: false, domain: false },
    },
    yOffset: { field: 'series', type: 'nominal' as const, sort: series },
    color: {
      field: 'series',
      type: 'nominal' as const,
      scale: { domain: series, range: categorical.slice(0, series.length) },
      legend: {
        title: null,
        orient: 'bottom' as const,
        direction: 'horizontal' as const,
        symbolType: 'circle' as const,
      },
    },
  };
  return {
    name: 'base_losses',
    title,
    alt: `Change of held-out loss: ${rows.map((one) => `${one.base} ${one.series} ${one.shown}`).join(', ')}.`,
    spec: {
      config,
      title: { text: lines(title, 72), subtitle: lines(subtitle, 92) },
      data: { values: rows },
      width: 440,
      height: { step: 18 },
      layer: [
        { mark: { type: 'rule', color: frame.muted }, encoding: { x: { datum: 0, type: 'quantitative' } } },
        {
          mark: { type: 'rule', strokeWidth: 2, opacity: 0.6 },
          encoding: { ...shared, x: { ...x, field: 'low' }, x2: { field: 'high' } },
        },
        {
          mark: { type: 'point', filled: true, size: 64, opacity: 1, stroke: frame.paper, strokeWidth: 0.8 },
          encoding: { ...shared, x: { ...x, field: 'value' } },
        },
        {
          mark: { type: 'text', align: 'left', dx: 9, fontSize: 10 },
          encoding: {
            y: shared.y,
            yOffset: shared.yOffset,
            x: { ...x, field: 'high' },
            text: { field: 'shown', type: 'nominal' },
            color: { value: frame.muted },
          },
        },
      ],
    },
  };
}

/** Which bases can be told to be worse, without adapters. */
function titleOf(bases: readonly Base[], { name: axis, reference }: Axis): string {
  const called = axis === 'bits' ? `${reference} bits` : reference;
  const worse = bases.flatMap(({ name, percent }) => (percent !== null && percent.interval.low > 0 ? [name] : []));
  if (worse.length === 0) return `Without adapters, no base can be told to lose more than ${called}`;
  return `Without adapters, a loss above that of ${called} can be told of ${listed(worse)}${axis === 'bits' ? ' bits' : ''}${worse.length === bases.length - 1 ? '' : ' alone'}`;
}

function megabytes(bytes: number): string {
  return `${formatNumber(bytes / 1e6, bytes < 1e8 ? 2 : 0)} MB`;
}
