/** Figure: training and validation loss over the steps, a panel for each configuration. */
import type { TopLevelSpec } from 'vega-lite';
import type { Curve, Results } from '../compare/results.ts';
import { formatNumber, formatRange } from '../shared/format.ts';
import type { Figure } from './figure.ts';
import { categorical, config, lines } from './theme.ts';

/** The loss curves of a comparison; null when none were given. */
export function lossCurves({ curves, comparison }: Results): Figure | null {
  if (curves.length === 0) return null;
  const { axis, reference, replicate } = comparison;
  const values = [...new Set(curves.map((curve) => curve.value))].sort(
    (a, b) => Number(b === reference) - Number(a === reference),
  );
  const labels = [...new Set(curves.map((curve) => curve.label))];
  const points = curves.flatMap(rowsOf);
  const last = curves.flatMap(({ validation }) => validation.at(-1)?.mean ?? []);
  const title =
    last.length === 0 ? 'Loss while training' : `Held-out loss ends at ${formatRange(last, 2)} nats per token`;
  const subtitle = `Thin: training loss of each batch. Thick, with dots: loss on the held-out examples that training watches, which may be fewer than the tables rest on; the bar from the lowest to the highest ${replicate}. Both are means over ${replicate}s, in nats per token.`;
  const spec: TopLevelSpec = {
    config,
    title: { text: title, subtitle: lines(subtitle, 96) },
    data: { values: points },
    columns: labels.length === 1 ? 1 : 2,
    spacing: 28,
    facet: {
      field: 'label',
      type: 'ordinal',
      sort: labels,
      header: { title: null, labelAnchor: 'start', labelFontSize: 13 },
    },
    spec: {
      width: 280,
      height: 170,
      encoding: {
        x: { field: 'step', type: 'quantitative', title: 'Step', axis: { tickCount: 5, grid: false } },
        color: {
          field: 'value',
          type: 'nominal',
          scale: { domain: values, range: [...categorical] },
          legend: { title: axis, symbolStrokeWidth: 3, symbolType: 'stroke', symbolOpacity: 1 },
        },
      },
      layer: [
        { mark: { type: 'line', strokeWidth: 1, opacity: 0.45 }, encoding: { y: yOf('training') } },
        { mark: { type: 'rule', strokeWidth: 1.5 }, encoding: { y: yOf('low'), y2: { field: 'high' } } },
        {
          mark: {
            type: 'line',
            strokeWidth: 2.2,
            invalid: 'filter',
            point: { size: 28, filled: true, invalid: 'filter' },
          },
          encoding: {
            y: yOf('validation'),
            // Curves that lie on each other are both seen: one through the gaps of the other.
            strokeDash: {
              field: 'value',
              type: 'nominal',
              scale: {
                domain: values,
                range: [
                  [1, 0],
                  [5, 5],
                  [2, 3],
                  [8, 3, 2, 3],
                ],
              },
              legend: null,
            },
          },
        },
      ],
    },
  };
  return { name: 'loss_curves', title, alt: altText(curves), spec };
}

function yOf(field: string) {
  return {
    field,
    type: 'quantitative',
    title: 'Loss, nats per token',
    scale: { zero: false },
    axis: { tickCount: 5 },
  } as const;
}

/** One row a step; what was not measured at a step is null. */
function rowsOf({ label, value, training, validation }: Curve) {
  const steps = [...new Set([...training, ...validation].map((point) => point.step))];
  return steps.map((step) => {
    const validated = validation.find((point) => point.step === step);
    return {
      label,
      value,
      step,
      training: training.find((point) => point.step === step)?.mean ?? null,
      validation: validated?.mean ?? null,
      low: validated?.low ?? null,
      high: validated?.high ?? null,
    };
  });
}

function altText(curves: readonly Curve[]): string {
  const ends = curves.flatMap(({ label, value, validation }) => {
    const last = validation.at(-1);
    return last === undefined ? [] : [`${label} ${value} ${formatNumber(last.mean, 3)}`];
  });
  return `Loss curves of ${curves.length} configurations. ${ends.length === 0 ? 'No held-out loss was measured.' : `Last loss on the held-out examples that training watches: ${ends.join(', ')}.`}`;
}
