/** Figure: what quantizing each family costs, layer by layer and in all layers, as coloured cells with their numbers. */
import type { TopLevelSpec } from 'vega-lite';
import type { Results, Sensitivity, SensitivityCell } from '../compare/results.ts';
import { decimalsFor, formatNumber, listed } from '../shared/format.ts';
import { type Figure, frame } from './figure.ts';
import { better, config, lines, worse } from './theme.ts';
import { interpolateColors } from './vega_extras.ts';

/** The heatmap of a comparison's sensitivities; null when it has none. */
export function sensitivityHeatmap({ sensitivity, comparison }: Results): Figure | null {
  if (sensitivity === null) return null;
  const { families, layers, whole, cells } = sensitivity;
  const single = cells.filter((cell) => cell.layer !== whole);
  const all = cells.filter((cell) => cell.layer === whole);
  const order = familyOrder(sensitivity);
  const confidence = formatNumber(100 * comparison.confidence, 0);
  const title = titleOf(all, families.length);
  const subtitle = `Increase of held-out loss in percent, with one family quantized, without training. In brackets: the ${confidence} % interval includes zero.${single.length > 0 && all.length > 0 ? ' The two colour scales differ.' : ''}`;
  const cellSize = { width: layers.length > 12 ? 47 : 58, height: 34 };
  const panels = [
    ...(single.length === 0 ? [] : [panel(single, layers, 'Layer', 'One layer quantized', order, cellSize, true)]),
    ...(all.length === 0
      ? []
      : [
          panel(
            all,
            [whole],
            'Layers',
            'Every layer quantized',
            order,
            { ...cellSize, width: 92 },
            single.length === 0,
          ),
        ]),
  ];
  const spec: TopLevelSpec = {
    config,
    title: { text: title, subtitle: lines(subtitle, layers.length > 12 ? 170 : 70) },
    spacing: 34,
    resolve: { scale: { color: 'independent' } },
    hconcat: panels as never,
  };
  const ranked = (all.length > 0 ? all : single).toSorted((a, b) => b.percent.value - a.percent.value);
  return { name: 'layer_sensitivity_heatmap', title, alt: altText(ranked, families.length), spec };
}

/** Families by what they cost in all layers (or on average over single layers), the most sensitive first. */
function familyOrder({ families, cells, whole }: Sensitivity): readonly string[] {
  const cost = (family: string) => {
    const own = cells.filter((cell) => cell.family === family);
    const chosen = own.find((cell) => cell.layer === whole);
    return chosen?.percent.value ?? own.reduce((sum, cell) => sum + cell.percent.value, 0) / own.length;
  };
  return families.toSorted((a, b) => cost(b) - cost(a));
}

function panel(
  cells: readonly SensitivityCell[],
  layers: readonly string[],
  axisTitle: string,
  title: string,
  families: readonly string[],
  cellSize: { readonly width: number; readonly height: number },
  named: boolean,
): object {
  const colour = colourScale(cells.map((cell) => cell.percent.value));
  const decimals = decimalsFor(cells.map((cell) => cell.percent.value));
  const values = cells.map(({ family, layer, increase: { interval }, percent: { value } }) => {
    const number = formatNumber(value, decimals);
    // Of the increase in nats, as the verdict is judged: that of the percentage, bootstrapped besides, can differ in the last digit.
    const unclear = interval === null || (interval.low <= 0 && interval.high >= 0);
    return { family, layer, value, text: unclear ? `(${number})` : number, onDark: colour.isDark(value) };
  });
  const width = cellSize.width * layers.length;
  return {
    data: { values },
    width,
    height: cellSize.height * families.length,
    title: { text: title, fontSize: 13, offset: 8, frame: 'group' },
    encoding: {
      x: {
        field: 'layer',
        type: 'ordinal',
        sort: layers,
        axis: { title: axisTitle, labelAngle: 0, ticks: false, domain: false },
      },
      y: {
        field: 'family',
        type: 'ordinal',
        sort: families,
        axis: named
          ? { title: 'Family of matrices', ticks: false, domain: false, labelColor: frame.ink }
          : { title: null, labels: false, ticks: false, domain: false },
      },
    },
    layer: [
      {
        mark: { type: 'rect', stroke: frame.paper, strokeWidth: 2 },
        encoding: {
          color: {
            field: 'value',
            type: 'quantitative',
            scale: colour.scale,
            legend: {
              title: 'Loss increase %',
              orient: 'bottom',
              direction: 'horizontal',
              gradientLength: Math.min(width, 240),
              gradientThickness: 10,
              tickCount: 3,
              offset: 12,
            },
          },
        },
      },
      {
        mark: { type: 'text', fontSize: layers.length > 12 ? 10 : 12 },
        encoding: {
          text: { field: 'text', type: 'nominal' },
          color: { condition: { test: 'datum.onDark', value: '#fffffe' }, value: '#101418' },
        },
      },
    ],
  };
}

/** White at zero, orange above it and blue below it: a change of one size is as far from white on either side. */
function colourScale(values: readonly number[]): { scale: object; isDark(value: number): boolean } {
  const low = Math.min(0, ...values);
  // Where nothing changes, the scale still needs an extent.
  const high = Math.max(0, ...values) || (low < 0 ? 0 : 1);
  const most = Math.max(high, -low);
  const steps = Array.from({ length: 8 }, (_, i) => (i + 1) / 8);
  const towards = (end: number, palette: readonly string[]) => {
    const colourAt = interpolateColors(palette, 'lab');
    return end === 0
      ? []
      : steps.map((share) => ({ value: end * share, colour: colourAt(Math.abs(end * share) / most) }));
  };
  const stops = [...towards(low, better).toReversed(), { value: 0, colour: worse[0] }, ...towards(high, worse)];
  return {
    scale: { type: 'linear', domain: stops.map((stop) => stop.value), range: stops.map((stop) => stop.colour) },
    isDark: (value) => Math.abs(value) / most > 0.72,
  };
}

/** The families whose rise of loss in all layers can be told from zero; without such cells, the question. */
function titleOf(all: readonly SensitivityCell[], families: number): string {
  if (all.length === 0) return 'Which weight matrices tolerate quantization?';
  const rising = all
    .filter(({ increase: { interval } }) => interval !== null && interval.low > 0)
    .toSorted((a, b) => b.percent.value - a.percent.value)
    .map(({ family }) => family);
  if (rising.length === 0) return `Of ${families} families of matrices, none can be told to cost loss when quantized`;
  return `Loss rises when ${listed(rising)} ${rising.length === 1 ? 'is' : 'are'} quantized; ${rising.length === families ? 'no family is free' : 'for the others no rise can be told'}`;
}

function altText(ranked: readonly SensitivityCell[], families: number): string {
  const name = (cell: SensitivityCell) =>
    `${cell.family} (layer ${cell.layer}, ${formatNumber(cell.percent.value, 2)} %)`;
  const most = ranked[0]!;
  const least = ranked.at(-1)!;
  return `Heatmap of loss increases for ${families} families of matrices. The largest is ${name(most)}, the smallest ${name(least)}.`;
}
