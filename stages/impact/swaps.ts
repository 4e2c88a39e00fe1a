/** Whether an adapter belongs to the base that it was trained on: on each base, the other's adapter in the place of its own. */
import type { Resampling } from '../compare/bootstrap.ts';
import type { Cell, Table } from '../compare/results.ts';
import { mean } from '../compare/student.ts';
import { estimateCells, estimateColumns, number, text } from '../shared/columns.ts';
import type { Evaluation } from '../shared/evaluation.ts';
import { meanByPrompt } from './gaps.ts';
import type { Study } from './inputs.ts';
import { intervals } from './tables.ts';

/** The swaps of a study, as far as it made them; null for none. */
export function swapsTable({ evaluations, ablations, names, seeds }: Study, how: Resampling): Table | null {
  const swaps = [
    { base: 'bf16', own: 'LoRA', other: 'QLoRA', trained: names.reference, swapped: 'qlora-on-bf16' },
    { base: 'nf4', own: 'QLoRA', other: 'LoRA', trained: names.method, swapped: 'lora-on-nf4' },
  ].filter(({ swapped }) => ablations.values.includes(swapped));
  if (swaps.length === 0) return null;
  const loss = (runs: readonly Evaluation[]) => mean(runs.map((one) => one.loss));
  return {
    name: 'adapter_swaps',
    title: "A base with the other base's adapter",
    note: `Held-out loss, nats per token, mean over ${seeds.length} seeds; both adapters of one seed. The difference is what the swap costs: above zero with its whole interval, an adapter has learned something that fits its own base alone. ${intervals(how)}`,
    columns: [
      text('base', 'Base'),
      text('own', 'Its own adapter'),
      text('other', "The other's"),
      number('loss_own', 'Loss, own', 4),
      number('loss_other', "Loss, the other's", 4),
      ...estimateColumns('difference', 'Difference', 5),
      number('seeds', 'Seeds', 0),
    ],
    rows: swaps.map(({ base, own, other, trained, swapped }): Cell[] => {
      const [before, after] = [evaluations.of(trained), ablations.of(swapped)];
      const differences = (one: Evaluation, s: number) =>
        one.lossPerExample.map((value, i) => value - before[s]!.lossPerExample[i]!);
      return [
        base,
        own,
        other,
        loss(before),
        loss(after),
        ...estimateCells(meanByPrompt(after, differences, how)),
        seeds.length,
      ];
    }),
  };
}
