/** Figure: the ladder of controls: how far an update, or the next token, moves when one thing is changed. */
import type { TopLevelSpec } from 'vega-lite';
import { formatNumber } from '../shared/format.ts';
import { type Row, rowsOf, tableWith } from '../shared/rows.ts';
import type { Study } from '../shared/study.ts';
import { type Figure, frame } from './figure.ts';
import { categorical, config, lines } from './theme.ts';

const panels = [
  { name: 'cosine', label: 'Cosine of B A' },
  { name: 'token_match', label: 'Token match' },
] as const;

/** The ladder of a study with controls; null for any other. */
export function controlLadder({ tables }: Study): Figure | null {
  const table = tableWith(tables, 'ladder', ['control', 'changed', 'cosine', 'token_match']);
  if (table === null) return null;
  const rows = rowsOf(table);
  const isMethod = (control: string) => control.startsWith('nf4');
  const points = rows.flatMap((row) =>
    panels.flatMap(({ name, label }) => {
      const value = row.number(name);
      if (value === null) return [];
      return [
        {
          changed: row.text('changed'),
          panel: label,
          kind: isMethod(row.text('control')) ? 'quantization' : 'control',
          value,
          low: row.number(`${name}_low`) ?? value,
          high: row.number(`${name}_high`) ?? value,
          text: formatNumber(value, 3),
        },
      ];
    }),
  );
  const title = titleOf(rows);
  const subtitle =
    'Each row changes one thing about a LoRA run and compares the two: 1 is no change at all. Bars: the intervals of the table, where it has them.';
  const order = rows.map((row) => row.text('changed'));
  const panelOf = ({ label }: (typeof panels)[number], first: boolean) => {
    const y = {
      field: 'changed',
      type: 'ordinal',
      sort: order,
      title: null,
      axis: first ? { labelColor: frame.ink, ticks: false, domain: false, labelLimit: 240 } : null,
    };
    const x = {
      type: 'quantitative',
      title: label,
      scale: { zero: false, nice: true, clamp: true },
      axis: { tickCount: 5 },
    };
    const color = {
      field: 'kind',
      type: 'nominal',
      scale: { domain: ['control', 'quantization'], range: [categorical[0], categorical[5]] },
      legend: { title: null, orient: 'bottom', direction: 'horizontal', columnPadding: 18, symbolType: 'circle' },
    };
    return {
      data: { values: points.filter(({ panel }) => panel === label) },
      width: 230,
      height: { step: 30 },
      layer: [
        {
          mark: { type: 'rule', strokeWidth: 2 },
          encoding: { y, x: { ...x, field: 'low' }, x2: { field: 'high' }, color },
        },
        {
          mark: { type: 'point', filled: true, size: 80, opacity: 1 },
          encoding: { y, x: { ...x, field: 'value' }, color },
        },
      ],
    };
  };
  const spec = {
    config,
    title: { text: title, subtitle: lines(subtitle, 92) },
    spacing: 28,
    hconcat: panels.map((panel, i) => panelOf(panel, i === 0)),
  } as unknown as TopLevelSpec;
  const alt = `Cosine of the updates when one thing is changed: ${rows.map((row) => `${row.text('changed')} ${row.text('cosine')}`).join('; ')}.`;
  return { name: 'control_ladder', title, alt, spec };
}

/** Which moves the update further, quantization or another seed; the question where the intervals meet. */
function titleOf(rows: readonly Row[]): string {
  const of = (control: string) => rows.find((row) => row.text('control') === control);
  const [method, seed] = [of('nf4'), of('both')];
  const above = (one: Row | undefined, other: Row | undefined) =>
    (one?.number('cosine_low') ?? -1) > (other?.number('cosine_high') ?? 1);
  if (above(method, seed)) return 'Another seed moves the update further than a 4-bit base does';
  if (above(seed, method)) return 'A 4-bit base moves the update further than another seed does';
  return 'What changes an update, and what changes the answer';
}
