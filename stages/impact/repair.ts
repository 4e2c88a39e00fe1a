/** Whether an adapter takes back what quantization changed: E = dq(W) - W beside B A. */
import type { Resampling } from '../compare/bootstrap.ts';
import type { Cell, Estimate, Table } from '../compare/results.ts';
import { mean, meanWithInterval } from '../compare/student.ts';
import type { FamilyError } from '../quantization-error.ts';
import { estimateCells, estimateColumns, number, text } from '../shared/columns.ts';
import { formatNumber } from '../shared/format.ts';
import type { Errors, Study } from './inputs.ts';

/** Sums over families of one adapter. */
interface Total {
  readonly weight: number;
  readonly error: number;
  readonly update: number;
  readonly repair: number;
}

/** The repair by QLoRA's adapter beside that by LoRA's, which never saw the error. */
export interface Repair {
  readonly lora: number;
  readonly qlora: number;
  /** QLoRA - LoRA, paired by seed: Student's t. */
  readonly difference: Estimate;
}

function total(families: readonly FamilyError[]): Total {
  const sum = (of: (family: FamilyError) => number) => families.reduce((all, family) => all + of(family), 0);
  return {
    weight: sum(({ weight }) => weight),
    error: sum(({ error }) => error),
    update: sum(({ update }) => update),
    repair: sum(({ repair }) => repair),
  };
}

/** cos(B A, -E); 0 where one of them is zero. */
function cosine({ repair, update, error }: Total): number {
  return update > 0 && error > 0 ? repair / Math.sqrt(update * error) : 0;
}

/** Over all layers, or one. */
export function repairOf({ errors, names }: Study, how: Resampling, layer?: number): Repair {
  const over = (value: string) =>
    errors
      .of(value)
      .map(({ families }) =>
        cosine(total(layer === undefined ? families : families.filter((family) => family.layer === layer))),
      );
  const [lora, qlora] = [over(names.reference), over(names.method)];
  const difference = meanWithInterval(
    qlora.map((x, s) => x - lora[s]!),
    how.confidence,
  );
  return { lora: mean(lora), qlora: mean(qlora), difference };
}

/** The share of the model's squared error that lies in matrices with an adapter, in percent. */
export function reachablePercent({ families, errorOfModel }: Errors): number {
  return errorOfModel === 0 ? 0 : (100 * total(families).error) / errorOfModel;
}

export function repairTable(study: Study, how: Resampling): Table {
  const { errors, names, seeds } = study;
  const first = errors.of(names.method)[0]!;
  const layers = [...new Set(first.families.map(({ layer }) => layer))];
  return {
    name: 'quantization_error',
    title: 'What quantization changed, and what the adapters take back',
    note: `E = dq(W) − W of the adapted matrices; B A with alpha / r. Repair: the cosine of B A and −E, 1 if the adapter undid the error and nothing else. LoRA's adapter never saw E: its repair is what chance gives. Mean over ${seeds.length} seeds; the interval of the difference is Student's t over seeds at ${formatNumber(100 * how.confidence, 0)} %. The adapted matrices hold ${formatNumber(reachablePercent(first), 1)} % of the model's squared error; the rest no adapter here can take back.`,
    columns: [
      text('layer', 'Layer'),
      number('error_of_weight_percent', '|E| / |W| %', 2),
      number('update_norm_lora', '|B A|, LoRA', 4),
      number('update_norm_qlora', '|B A|, QLoRA', 4),
      number('error_of_update', '|E| / |B A|, QLoRA', 3),
      number('repair_lora', 'Repair, LoRA', 4),
      number('repair_qlora', 'Repair, QLoRA', 4),
      ...estimateColumns('difference', 'Difference', 4),
    ],
    rows: [...layers, undefined].map((layer): Cell[] => {
      const totals = (value: string) =>
        errors
          .of(value)
          .map(({ families }) =>
            total(layer === undefined ? families : families.filter((family) => family.layer === layer)),
          );
      const [lora, qlora] = [totals(names.reference), totals(names.method)];
      const repair = repairOf(study, how, layer);
      const updates = qlora.every(({ update }) => update > 0);
      return [
        layer === undefined ? 'all' : String(layer),
        100 * Math.sqrt(qlora[0]!.error / qlora[0]!.weight),
        mean(lora.map(({ update }) => Math.sqrt(update))),
        mean(qlora.map(({ update }) => Math.sqrt(update))),
        updates ? mean(qlora.map(({ error, update }) => Math.sqrt(error / update))) : null,
        repair.lora,
        repair.qlora,
        ...estimateCells(repair.difference),
      ];
    }),
  };
}
