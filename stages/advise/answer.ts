/** The answer as a terminal shows it: a table of at most 80 columns, and what its numbers are. */
import type { Candidate, Fits } from '../fit/fits.ts';
import { shapeText } from '../shared/base_shape.ts';
import { formatNumber, formatRange, formatSigned, gigabytes } from '../shared/format.ts';
import type { Quality } from './quality.ts';

/** A configuration with what has been measured of it. */
export interface Advised extends Candidate {
  readonly quality: Quality | null;
}

/** @param results the folder that qualities were looked up in, as a person calls it; null when there is none. */
export function answerText(fits: Fits, advised: readonly Advised[], results: string | null): string {
  const { model, shape, memory, targets, length } = fits;
  const measured = advised.filter(({ quality }) => quality !== null);
  return [
    `${model}: ${shapeText(shape)}`,
    `Adapters on ${targets.join('+')}, sequences of ${length} tokens, ${gigabytes(memory)} GB: the largest batch that fits.`,
    '',
    ...table(advised, memory),
    '',
    ...headline(advised, memory),
    '',
    'Planned for a GPU, exact to the byte for the programs of `train`: the one that',
    'trains and the one that measures held-out loss meanwhile. What the driver and',
    'the process take besides is not in it: leave a GPU some 700 MB. Again: what is',
    'computed again for the gradient (rematerialize in `train`), a third slower.',
    ...pagingNote(advised, memory),
    ...qualityNote(measured, results),
    '',
  ].join('\n');
}

function table(advised: readonly Advised[], memory: number): string[] {
  const header = ['base', 'again', 'rank', 'batch', 'train GB', 'held-out GB', 'free GB', 'held-out loss'];
  const rows = advised.map(({ precision, rematerialize, rank, batch, takes, quality }) => [
    precision,
    rematerialize,
    String(rank),
    batch === 0 ? 'none' : String(batch),
    gigabytes(takes.training),
    gigabytes(takes.heldOut),
    batch === 0 ? `-${gigabytes(takes.total - memory)}` : gigabytes(memory - takes.total),
    qualityText(quality),
  ]);
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => row[i]!.length)));
  return [header, ...rows].map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}

function qualityText(quality: Quality | null): string {
  if (quality === null) return 'not run';
  const loss = formatNumber(quality.loss, 4);
  return quality.changePercent === null ? loss : `${loss} ${formatSigned(quality.changePercent, 2)}%`;
}

/** What fits, in a sentence for each precision. */
function headline(advised: readonly Advised[], memory: number): string[] {
  return [...new Set(advised.map(({ precision }) => precision))].map((precision) => {
    const all = advised.filter((one) => one.precision === precision);
    const fitting = all.filter(({ batch }) => batch > 0);
    if (fitting.length === 0) {
      const least = Math.min(...all.map(({ takes }) => takes.total));
      return `${precision} does not fit: one sequence takes ${gigabytes(least)} GB, and there are ${gigabytes(memory)}.`;
    }
    const batches = [...new Set(fitting.map(({ batch }) => batch))];
    const [low, high] = [Math.min(...batches), Math.max(...batches)];
    const sequences = low === high ? `${low}` : `${low} to ${high}`;
    return `${precision}: ${sequences} sequence${high === 1 ? '' : 's'} a step, up to rank ${Math.max(...fitting.map(({ rank }) => rank))}.`;
  });
}

/** What paging the moments of AdamW would free, and whether that is a sequence more. */
function pagingNote(advised: readonly Advised[], memory: number): string[] {
  const sizes = advised.map(({ takes }) => takes.optimizer / 1e9);
  const longer = advised.filter(({ takes, next }) => next - takes.optimizer <= memory).length;
  return [
    `Paging the optimizer (paged_optimizer in \`train\`) frees ${formatRange(sizes, 3)} GB,`,
    `room for one sequence more in ${longer === 0 ? 'none' : longer} of these ${advised.length} configurations.`,
  ];
}

function qualityNote(measured: readonly Advised[], results: string | null): string[] {
  if (results === null) return ['Quality: this project has no results yet, so nothing is known of it here.'];
  if (measured.length === 0) {
    return [
      `Quality: no run in ${results}/ has a base of this shape with such adapters, so`,
      'nothing is known of it here.',
    ];
  }
  const tables = [...new Set(measured.map(({ quality }) => quality!.table))];
  const runs = [...new Set(measured.map(({ quality }) => quality!.runs))].sort((a, b) => a - b).join(' or ');
  return [
    `Held-out loss: means of ${runs} runs, in nats per token; percent is against bf16 of`,
    'the same rank. Runs are matched by the shape of their base, and each report says',
    `which base it was: ${tables.join(', ')}`,
  ];
}
