/** The tables of bases of different precisions. */
import type { Comparison, Configuration, Table } from '../compare/results.ts';
import { mean } from '../compare/student.ts';
import { estimateCells, estimateColumns, number, text } from '../shared/columns.ts';
import { decimalsFor, formatNumber } from '../shared/format.ts';
import type { Axis, Base, Contrast } from './measures.ts';

/** Size, error and loss of each base without adapters. */
export function basesTable(bases: readonly Base[], axis: Axis, confidence: number): Table {
  const reference = bases.find(({ name }) => name === axis.reference)!;
  const loss = decimalsFor(bases.map((base) => base.increase?.value ?? 0)) + 1;
  return {
    name: 'bases',
    title: 'Bases by precision, without adapters',
    note: [
      'Bits are the mean over quantized weights; megabytes (1e6 bytes) are of the whole base in its packed format, embeddings and norms in 16 bits, codebooks aside. A base that programs hold by value (8 bits, mixed rows) takes 16 bits a weight while it runs here.',
      'Error: |dequantized - weights| / |weights|, the mean over quantized matrices.',
      `Increase: held-out loss (nats per token) above ${axis.reference}, paired by example; intervals (${formatNumber(100 * confidence, 0)} %) are bootstrapped over examples and hold for all bases together.`,
    ].join(' '),
    columns: [
      text(axis.name, axis.name),
      number('mean_bits', 'Bits', 2),
      number('packed_mb', 'Base MB', decimalsFor(bases.map(({ bytes }) => bytes / 1e6))),
      number('share_percent', `Of ${axis.reference}, %`, 1),
      number('relative_error', 'Error', 4),
      number('loss', 'Held-out loss', 4),
      ...estimateColumns('increase', 'Increase', loss),
      ...estimateColumns('increase_percent', 'Increase %', 2),
    ],
    rows: bases.map((base) => [
      base.name,
      base.meanBits,
      base.bytes / 1e6,
      (100 * base.bytes) / reference.bytes,
      base.error,
      base.loss,
      ...estimateCells(base.increase),
      ...estimateCells(base.percent),
    ]),
  };
}

/** What adapters leave of the increase: each tuned base against the tuned reference of the same replicate. */
export function tunedTable(
  configurations: readonly Configuration[],
  { axis, reference, replicate, confidence }: Comparison,
): Table {
  const decimals = decimalsFor(configurations.map(({ deviation, drop }) => deviation ?? drop.value)) + 1;
  return {
    name: 'tuned_bases',
    title: 'Bases by precision, with adapters trained on them',
    note: `Change of held-out loss in percent of the tuned ${reference} with the same ${replicate}; the interval is Student's t over paired ${replicate}s at ${formatNumber(100 * confidence, 0)} %, for each row alone.`,
    columns: [
      text('configuration', 'Adapters on'),
      text(axis, axis),
      number('loss_reference', `Held-out loss, ${reference}`, 4),
      number('loss', 'Held-out loss', 4),
      ...estimateColumns('change_percent', 'Change %', decimals),
      number('replicates', `${replicate}s`, 0),
    ],
    rows: configurations.map(({ label, variant, pairs, drop }) => [
      label,
      variant,
      mean(pairs.map((pair) => pair.reference)),
      mean(pairs.map((pair) => pair.variant)),
      ...estimateCells(drop),
      pairs.length,
    ]),
  };
}

/** Pairs of bases set against each other; null when none were asked for. */
export function contrastTable(contrasts: readonly Contrast[], confidence: number): Table | null {
  if (contrasts.length === 0) return null;
  const decimals = decimalsFor(contrasts.map(({ difference }) => difference.value)) + 1;
  return {
    name: 'contrasts',
    title: 'Pairs of bases, without adapters',
    note: `How much more the first loses than the second, in nats per token, paired by example; intervals (${formatNumber(100 * confidence, 0)} %) hold for all pairs together. One that holds 0 tells no difference.`,
    columns: [
      text('first', 'First'),
      text('second', 'Second'),
      ...estimateColumns('difference', 'Difference', decimals),
      text('told_apart', 'Told apart'),
    ],
    rows: contrasts.map(({ worse, better, difference }) => [
      worse,
      better,
      ...estimateCells(difference),
      difference.interval.low > 0 || difference.interval.high < 0 ? 'yes' : 'no',
    ]),
  };
}
