/** Figure: how alike the learned updates of all runs are, each with each. */
import type { TopLevelSpec } from 'vega-lite';
import { mean } from '../compare/student.ts';
import { formatNumber } from '../shared/format.ts';
import { rowsOf, tableWith } from '../shared/rows.ts';
import type { Study } from '../shared/study.ts';
import { type Figure, frame } from './figure.ts';
import { better, config, lines, worse } from './theme.ts';

/** The matrix of a study that compared updates; null for any other. */
export function weightSimilarity({ tables }: Study): Figure | null {
  const table = tableWith(tables, 'weight_similarity', ['run']);
  if (table === null) return null;
  const rows = rowsOf(table);
  const runs = rows.map((row) => row.text('run'));
  const cells = rows.flatMap((row) =>
    runs.flatMap((other) => {
      const cosine = row.number(other);
      if (cosine === null) return [];
      return [{ run: row.text('run'), other, cosine, text: formatNumber(cosine, 2), onDark: Math.abs(cosine) > 0.72 }];
    }),
  );
  if (cells.length === 0) return null;
  const title = titleOf(cells);
  const subtitle =
    'Cosine of the learned updates B A, all layers as one vector, each run with each: precision of the base, then seed. Blue: the same direction; white: none in common; orange: opposite.';
  // Negative cosines are rare and small: the scale has both ends all the same, so that white is zero.
  const range = [...worse.toReversed(), ...better.slice(1)];
  const domain = range.map((_, i) =>
    i < worse.length ? (i - worse.length + 1) / (worse.length - 1) : (i - worse.length + 1) / (better.length - 1),
  );
  const size = runs.length > 12 ? 38 : 46;
  const axis = { ticks: false, domain: false, labelColor: frame.ink } as const;
  const spec: TopLevelSpec = {
    config,
    title: { text: title, subtitle: lines(subtitle, 78) },
    data: { values: cells },
    width: size * runs.length,
    height: 34 * runs.length,
    encoding: {
      x: { field: 'other', type: 'ordinal', sort: runs, axis: { ...axis, title: null, labelAngle: -40 } },
      y: { field: 'run', type: 'ordinal', sort: runs, axis: { ...axis, title: null } },
    },
    layer: [
      {
        mark: { type: 'rect', stroke: frame.paper, strokeWidth: 2 },
        encoding: {
          color: {
            field: 'cosine',
            type: 'quantitative',
            scale: { type: 'linear', domain, range, interpolate: 'rgb' },
            legend: {
              title: 'Cosine',
              orient: 'bottom',
              direction: 'horizontal',
              gradientLength: 220,
              gradientThickness: 10,
              values: [-1, -0.5, 0, 0.5, 1],
              offset: 12,
            },
          },
        },
      },
      {
        mark: { type: 'text', fontSize: 11 },
        encoding: {
          text: { field: 'text', type: 'nominal' },
          color: { condition: { test: 'datum.onDark', value: '#fffffe' }, value: '#101418' },
        },
      },
    ],
  };
  const apart = cells.filter((cell) => cell.run !== cell.other).toSorted((a, b) => b.cosine - a.cosine);
  const pair = ({ run, other, text }: (typeof cells)[number]) => `${run} and ${other}, ${text}`;
  const alt =
    apart.length === 0
      ? 'One run.'
      : `Cosines of the updates of ${runs.length} runs. The most alike: ${pair(apart[0]!)}; the least: ${pair(apart.at(-1)!)}.`;
  return { name: 'weight_similarity_matrix', title, alt, spec };
}

/** How alike runs of one seed are beside runs of two: names are a precision and a seed. */
function titleOf(cells: readonly { readonly run: string; readonly other: string; readonly cosine: number }[]): string {
  const seedOf = (run: string) => run.slice(run.lastIndexOf(' ') + 1);
  const pairs = cells.filter(({ run, other }) => run !== other);
  const of = (alike: boolean) => pairs.filter(({ run, other }) => (seedOf(run) === seedOf(other)) === alike);
  const [same, different] = [of(true), of(false)].map((own) => own.map(({ cosine }) => cosine)) as [number[], number[]];
  if (same.length === 0 || different.length === 0) return 'Which runs learned the same update?';
  return `Cosine of the updates: ${formatNumber(mean(same), 2)} with one seed, ${formatNumber(mean(different), 2)} with two`;
}
