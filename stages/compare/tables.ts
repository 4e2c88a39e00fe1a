/** The tables of a comparison: their columns, their words, and the two file formats. */
import { from, op } from 'arquero';
import { number, text } from '../shared/columns.ts';
import { decimalsFor, formatNumber } from '../shared/format.ts';
import type { GridRun } from './grid.ts';
import type { Cell, Column, Comparison, Configuration, Sensitivity, SensitivityCell, Table } from './results.ts';
import { mean } from './student.ts';

/** Bytes in what the tables call a megabyte. */
export const megabyte = 1e6;

/** A table as CSV, every digit kept (RFC 4180 quoting; `n/a` for a value that does not exist). */
export function toCsv(table: Table): string {
  const names = table.columns.map((column) => column.name);
  const objects = table.rows.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i] ?? 'n/a'])));
  return from(objects, names).toCSV();
}

/** The table without the columns that hold nothing: what no task measured is not shown as a column of `n/a`. */
export function withoutEmptyColumns(table: Table): Table {
  const kept = table.columns.map((_, i) => i).filter((i) => table.rows.some((row) => row[i] !== null));
  return {
    ...table,
    columns: kept.map((i) => table.columns[i]!),
    rows: table.rows.map((row) => kept.map((i) => row[i]!)),
  };
}

/** Performance drop with its spread over replicates, peak memory, and the best configuration. */
export function performanceTable(configurations: readonly Configuration[], comparison: Comparison): Table {
  const { metric, replicate, reference, confidence, axis } = comparison;
  const many = new Set(configurations.map((one) => one.variant)).size > 1;
  const percent = decimalsFor(configurations.map((one) => one.deviation ?? one.drop.value));
  const value = decimalsFor(configurations.flatMap((one) => one.pairs.map((pair) => pair.reference))) + 2;
  const mega = decimalsFor(
    configurations.flatMap((one) => (one.memory === null ? [] : [one.memory.variant.total / megabyte])),
  );
  const variant = many ? 'variant' : configurations[0]!.variant;
  const interval = formatNumber(100 * confidence, 0);
  const ties = configurations.some((one) => one.standing === 'tied');
  return {
    name: 'performance',
    title: `Performance drop and peak memory, ${variant} against ${reference}`,
    note: [
      `Drop: change of ${metric.label} in percent of the ${reference} run with the same ${replicate}; positive is worse.`,
      `The interval is Student's t over the paired drops at ${interval} %, for each configuration alone.`,
      `Peak memory is that of a training step, planned and exact for the program of the device that trained; 1 MB is ${megabyte.toLocaleString('en')} bytes.`,
      `Best: the smallest mean drop (of equal ones, that with the least memory). Tied for best: the smallest, and those whose difference from it, paired by ${replicate}, has a t interval that is not above zero (${interval} % for all pairs of configurations together, Bonferroni).`,
    ].join(' '),
    columns: [
      text('configuration', 'Configuration'),
      ...(many ? [text(axis, axis)] : []),
      number('reference_mean', `${capital(metric.label)}, ${reference}`, value),
      number('variant_mean', `${capital(metric.label)}, ${variant}`, value),
      number('drop_percent', 'Drop %', percent),
      number('drop_deviation', 'Standard deviation', percent),
      number('drop_low', `${interval} % interval from`, percent),
      number('drop_high', 'to', percent),
      number('replicates', `${capital(replicate)}s`, 0),
      number('memory_reference_mb', `Peak MB, ${reference}`, mega),
      number('memory_variant_mb', `Peak MB, ${variant}`, mega),
      number('memory_reduction_percent', 'Memory reduction %', 1),
      text('best', 'Best'),
    ],
    rows: configurations.map((one) => [
      one.label,
      ...(many ? [one.variant] : []),
      mean(one.pairs.map((pair) => pair.reference)),
      mean(one.pairs.map((pair) => pair.variant)),
      one.drop.value,
      one.deviation,
      one.drop.interval?.low ?? null,
      one.drop.interval?.high ?? null,
      one.pairs.length,
      one.memory === null ? null : one.memory.reference.total / megabyte,
      one.memory === null ? null : one.memory.variant.total / megabyte,
      one.memory === null ? null : 100 * (1 - one.memory.variant.total / one.memory.reference.total),
      { best: ties ? 'tied for best' : 'best', tied: 'tied for best', behind: 'no' }[one.standing],
    ]),
  };
}

const qualityColumns = [
  ['loss', 'Held-out loss', 4],
  ['perplexity', 'Perplexity', 3],
  ['top1Agreement', 'Top-1 agreement', 4],
  ['kl', 'KL (nats)', 5],
  ['greedyMatch', 'Greedy match', 4],
  ['firstDivergence', 'First divergence (token)', 2],
  ['embeddingCosine', 'Embedding cosine', 5],
] as const;

/** Quality of every configuration under every value of the compared axis, averaged over replicates. */
export function qualityTable(runs: readonly GridRun[], comparison: Comparison): Table {
  const flat = runs.map(({ label, value, metrics }) => ({
    configuration: label,
    value,
    ...Object.fromEntries(qualityColumns.map(([name]) => [name, metrics[name]])),
  }));
  const means = Object.fromEntries(qualityColumns.map(([name]) => [name, op.mean(name)]));
  const measured = Object.fromEntries(qualityColumns.map(([name]) => [`${name}_count`, op.valid(name)]));
  const groups = from(flat)
    .groupby('configuration', 'value')
    .rollup({ ...means, ...measured })
    .objects() as Record<string, string | number>[];
  return {
    name: 'quality',
    title: 'Quality by configuration',
    note: `Means over ${comparison.replicate}s. Agreement, KL, greedy match, first divergence and embedding cosine compare with the reference model that evaluate was given; the cosine is of mean-centred embeddings. Where two models write the same text, the first divergence is its length.`,
    columns: [
      text('configuration', 'Configuration'),
      text(comparison.axis, capital(comparison.axis)),
      ...qualityColumns.map(([name, label, decimals]) => number(name, label, decimals)),
    ],
    rows: groups.map((group) => [
      group.configuration!,
      group.value!,
      ...qualityColumns.map(([name]) => (group[`${name}_count`] === 0 ? null : group[name]!)),
    ]),
  };
}

/** Every run by itself: nothing averaged. */
export function runsTable(runs: readonly GridRun[], comparison: Comparison): Table {
  return {
    name: 'runs',
    title: 'Every trained run',
    note: `One row a run. Peak memory is planned and exact; 1 MB is ${megabyte.toLocaleString('en')} bytes.`,
    columns: [
      text('configuration', 'Configuration'),
      text(comparison.axis, capital(comparison.axis)),
      text(comparison.replicate, capital(comparison.replicate)),
      text('base', 'Base'),
      text('adapted', 'Adapters on'),
      number('adapter_rank', 'Rank', 0),
      number('loss', 'Held-out loss', 4),
      number('final_training_loss', 'Last training loss', 4),
      number('steps', 'Steps', 0),
      number('trainable_parameters', 'Trainable parameters', 0),
      number('peak_mb', 'Peak MB', 2),
      number('examples', 'Held-out examples', 0),
      number('tokens', 'Response tokens', 0),
    ],
    rows: runs.map(({ label, value, replicate, metrics, summary }) => [
      label,
      value,
      replicate,
      summary?.base ?? null,
      summary?.targets ?? null,
      summary?.rank ?? null,
      metrics.loss,
      summary?.finalLoss ?? null,
      summary?.steps ?? null,
      summary?.trainableParameters ?? null,
      summary === null ? null : summary.memory.total / megabyte,
      metrics.examples,
      metrics.tokens,
    ]),
  };
}

/** What quantizing each family in all its layers costs, the most sensitive first. */
export function familyTable(sensitivity: Sensitivity, confidence: number): Table | null {
  const cells = sensitivity.cells
    .filter((cell) => cell.layer === sensitivity.whole)
    .toSorted((a, b) => b.increase.value - a.increase.value);
  return cells.length === 0
    ? null
    : {
        name: 'family_sensitivity',
        title: 'Sensitivity of each family, quantized in all its layers',
        note: `Held-out loss without training, against the unquantized model (${formatNumber(sensitivity.reference.loss, 4)} nats per token on ${sensitivity.reference.examples} examples). ${resampled(confidence)}, and hold for all families together.`,
        columns: [text('family', 'Family'), ...sensitivityColumns(cells)],
        rows: cells.map((cell) => [cell.family, ...sensitivityCells(cell)]),
      };
}

/** What quantizing one family in one layer costs. */
export function layerTable(sensitivity: Sensitivity, confidence: number): Table | null {
  const cells = sensitivity.families.flatMap((family) =>
    sensitivity.layers.flatMap((layer) =>
      sensitivity.cells.filter((cell) => cell.family === family && cell.layer === layer),
    ),
  );
  return cells.length === 0
    ? null
    : {
        name: 'layer_sensitivity',
        title: 'Sensitivity of each family, layer by layer',
        note: `One family quantized in one layer, without training. ${resampled(confidence)}, and hold for each cell alone: among many, some miss by chance.`,
        columns: [text('family', 'Family'), text('layer', 'Layer'), ...sensitivityColumns(cells)],
        rows: cells.map((cell) => [cell.family, cell.layer, ...sensitivityCells(cell)]),
      };
}

function resampled(confidence: number): string {
  return `Intervals (${formatNumber(100 * confidence, 0)} %) are bootstrapped over held-out examples, paired by example`;
}

function sensitivityColumns(cells: readonly SensitivityCell[]): readonly Column[] {
  const increase = decimalsFor(cells.map((cell) => cell.increase.value));
  const percent = decimalsFor(cells.map((cell) => cell.percent.value));
  const perMillion = decimalsFor(cells.map((cell) => cell.perMillion?.value ?? 0));
  return [
    number('increase', 'Loss increase', increase),
    number('increase_low', 'from', increase),
    number('increase_high', 'to', increase),
    number('percent', 'Increase %', percent),
    number('percent_low', 'from', percent),
    number('percent_high', 'to', percent),
    number('weights', 'Weights quantized', 0),
    number('per_million', 'Increase per million weights', perMillion),
    number('per_million_low', 'from', perMillion),
    number('per_million_high', 'to', perMillion),
  ];
}

function sensitivityCells({ increase, percent, weights, perMillion }: SensitivityCell): readonly Cell[] {
  return [
    ...[increase, percent].flatMap((one) => [one.value, one.interval?.low ?? null, one.interval?.high ?? null]),
    weights,
    perMillion?.value ?? null,
    perMillion?.interval?.low ?? null,
    perMillion?.interval?.high ?? null,
  ];
}

function capital(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}
