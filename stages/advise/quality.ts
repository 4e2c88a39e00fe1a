/** What runs have measured of a configuration: looked up in the tables that they published. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';
import { fromCSV } from 'arquero';

/** The mean held-out loss over the runs of one table. */
export interface Quality {
  /** Nats per token. */
  readonly loss: number;
  readonly runs: number;
  /** Against 16 bits with the same adapters in the same table, in percent of its loss; null for 16 bits itself, or without it. */
  readonly changePercent: number | null;
  /** The table: `results/layer-sensitivity/tables/runs.csv`. */
  readonly table: string;
}

/** What a run is looked up by. */
export interface Wanted {
  /** As `shapeText` writes it. */
  readonly base: string;
  /** `q+v` */
  readonly adapted: string;
  readonly rank: number;
  readonly precision: string;
}

/** Tables of runs below a results folder, read once. */
export interface MeasuredRuns {
  readonly tables: readonly string[];
  /** The table with the most such runs answers; null when none has any. */
  find(wanted: Wanted): Quality | null;
}

type Row = Readonly<Record<string, unknown>>;

/** Reads every `tables/runs.csv` below a folder. A table that does not say bases, adapters and precision has no answers. */
export function readMeasuredRuns(results: string): MeasuredRuns {
  const paths = readdirSync(results, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.name === 'runs.csv' && basename(entry.parentPath) === 'tables')
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => existsSync(path))
    .sort();
  const tables = paths.map((path) => ({
    name: [basename(results), ...relative(results, path).split(sep)].join('/'),
    rows: fromCSV(readFileSync(path, 'utf8')).objects() as Row[],
  }));
  return {
    tables: tables.map(({ name }) => name),
    find(wanted) {
      const found = tables.flatMap(({ name, rows }): Quality[] => {
        const losses = lossesOf(rows, wanted);
        if (losses.length === 0) return [];
        const before = wanted.precision === 'bf16' ? [] : lossesOf(rows, { ...wanted, precision: 'bf16' });
        const loss = mean(losses);
        const changePercent = before.length === 0 ? null : (100 * (loss - mean(before))) / mean(before);
        return [{ loss, runs: losses.length, changePercent, table: name }];
      });
      return found.reduce<Quality | null>((best, one) => (best === null || one.runs > best.runs ? one : best), null);
    },
  };
}

function lossesOf(rows: readonly Row[], { base, adapted, rank, precision }: Wanted): number[] {
  return rows
    .filter(
      (row) => row.base === base && row.adapted === adapted && row.adapter_rank === rank && row.precision === precision,
    )
    .map(({ loss }) => loss)
    .filter((loss) => typeof loss === 'number');
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
