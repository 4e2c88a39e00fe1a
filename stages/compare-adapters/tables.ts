/** The tables of a comparison of two adapters. */
import { StageError } from '../../engine/stage.ts';
import type { Cell, Table } from '../compare/results.ts';
import { number, text } from '../shared/columns.ts';
import type { AdapterComparison, Range } from './comparison.ts';

/** What somebody else published of a layer of the same pair. */
export interface PublishedLayer {
  readonly layer: number;
  readonly cosine: number;
  /** Of B A without its scale. */
  readonly l2: number;
  readonly relative_difference: number;
}

/** Every layer, and all as one. */
export function adaptersTable({ layers, whole, scale }: AdapterComparison): Table {
  const rows = [
    ...layers.map((one) => ({ label: String(one.layer), ...one })),
    {
      label: 'all',
      ...whole,
      outputAngles: rangeOf(layers.map(({ outputAngles }) => outputAngles)),
      inputAngles: rangeOf(layers.map(({ inputAngles }) => inputAngles)),
    },
  ];
  return {
    name: 'adapters_by_layer',
    title: 'Two adapters compared by B A, layer by layer',
    note: `Norms and L2 are Frobenius norms of B A times alpha / r${scale === null ? '' : ` (here ${scale})`}, from r x r Gram matrices in float64. L2 and relative difference: |adapter - reference|, and that over |reference|. Angles are the least and greatest principal angles, in degrees, between what the two write (output) and what they read (input). The row "all" takes the layers as one vector.`,
    columns: [
      text('layer', 'Layer'),
      number('cosine', 'Cosine', 4),
      number('l2', 'L2', 4),
      ...(scale === null ? [] : [number('l2_unscaled', 'L2 without scale', 4)]),
      number('relative_difference', 'Relative difference', 4),
      number('norm_reference', 'Norm, reference', 4),
      number('norm_adapter', 'Norm, adapter', 4),
      number('norm_ratio', 'Norm ratio', 4),
      number('angle_output_smallest', 'Output angle from', 1),
      number('angle_output_largest', 'to', 1),
      number('angle_input_smallest', 'Input angle from', 1),
      number('angle_input_largest', 'to', 1),
    ],
    rows: rows.map((one): Cell[] => [
      one.label,
      one.cosine,
      one.l2,
      ...(scale === null ? [] : [one.l2 / scale]),
      one.relative,
      one.referenceNorm,
      one.norm,
      one.referenceNorm > 0 ? one.norm / one.referenceNorm : null,
      one.outputAngles?.least ?? null,
      one.outputAngles?.greatest ?? null,
      one.inputAngles?.least ?? null,
      one.inputAngles?.greatest ?? null,
    ]),
  };
}

/** From the least to the greatest of many ranges; null where there is none. */
function rangeOf(ranges: readonly (Range | null)[]): Range | null {
  const known = ranges.filter((range) => range !== null);
  if (known.length === 0) return null;
  return {
    least: Math.min(...known.map(({ least }) => least)),
    greatest: Math.max(...known.map(({ greatest }) => greatest)),
  };
}

/** Published figures beside ours: whether they agree to four decimals. @throws StageError for a layer that there is not. */
export function agreementTable(
  { layers, scale }: AdapterComparison,
  published: readonly PublishedLayer[],
  source: string,
): Table {
  if (scale === null) {
    throw new StageError(
      'the published L2 leave out alpha / r, and the two adapters have more than one: give no `published`',
    );
  }
  return {
    name: 'published_check',
    title: 'Published figures of this pair, reproduced',
    note: `Source: ${source}. The published L2 is that of B A without alpha / r = ${scale}; cosine and relative difference do not depend on it.`,
    columns: [
      number('layer', 'Layer', 0),
      number('cosine', 'Cosine', 4),
      number('cosine_published', 'published', 4),
      number('l2', 'L2 without scale', 4),
      number('l2_published', 'published', 4),
      number('relative_difference', 'Relative difference', 4),
      number('relative_difference_published', 'published', 4),
      text('agree', 'Agree to four decimals'),
    ],
    rows: published.map((theirs) => {
      const ours = layers.find(({ layer }) => layer === theirs.layer);
      if (ours === undefined) {
        throw new StageError(`a published figure is of layer ${theirs.layer}, which the adapters do not have`);
      }
      const pairs = [
        [ours.cosine, theirs.cosine],
        [ours.l2 / scale, theirs.l2],
        [ours.relative, theirs.relative_difference],
      ] as const;
      const agree = pairs.every(([a, b]) => a !== null && a.toFixed(4) === b.toFixed(4));
      return [theirs.layer, ...pairs.flat(), agree ? 'yes' : 'no'];
    }),
  };
}
