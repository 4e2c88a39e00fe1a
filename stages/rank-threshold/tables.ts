/** The tables by rank: threshold, memory, losses. */
import type { Resampling } from '../compare/bootstrap.ts';
import type { Cell, Column, Table } from '../compare/results.ts';
import { megabyte } from '../compare/tables.ts';
import { estimateCells, estimateColumns, number, text } from '../shared/columns.ts';
import { formatNumber } from '../shared/format.ts';
import type { MeasuredRank } from './measure.ts';
import { meetsThreshold, type RankRule } from './verdict.ts';

/** What somebody else published of a rank. */
export interface PublishedRank {
  readonly rank: number;
  readonly lora_mb: number;
  readonly qlora_mb: number;
  readonly lora_loss: number;
  readonly qlora_loss: number;
}

interface Published {
  readonly ranks: readonly PublishedRank[];
  readonly source: string;
}

const rankColumn = number('rank', 'Rank', 0);
const confidence = (share: number) =>
  `Intervals are at ${formatNumber(100 * share, 0)} %: the bootstrap over prompts and Student's t over seeds, in quadrature.`;

export function thresholdTable(ranks: readonly MeasuredRank[], rule: RankRule): Table {
  return {
    name: 'rank_threshold',
    title: 'How far QLoRA says what LoRA says, by rank',
    note: `QLoRA beside the LoRA run of the same rank and seed. Token match: teacher-forced top-1 agreement; embedding cosine: of mean-centred response states. Met: both are at least ${rule.threshold} with their whole intervals. Match of seeds: LoRA beside LoRA with the first seed, the noise floor. Gap / seed gap: 1 − token match of QLoRA over that of another seed. ${confidence(rule.confidence)}`,
    columns: [
      rankColumn,
      ...estimateColumns('token_match', 'Token match', 4),
      ...estimateColumns('embedding_cosine', 'Embedding cosine', 4),
      number('greedy_match', 'Greedy match', 4),
      text('threshold_met', `≥ ${rule.threshold} met`),
      ...estimateColumns('seed_match', 'Match of seeds', 4),
      ...estimateColumns('gap_ratio', 'Gap / seed gap', 2),
      number('seeds', 'Seeds', 0),
    ],
    rows: ranks.map((one): Cell[] => [
      one.rank,
      ...estimateCells(one.tokenMatch),
      ...estimateCells(one.embeddingCosine),
      one.greedyMatch,
      meetsThreshold(one, rule) ? 'yes' : 'no',
      ...estimateCells(one.seedMatch),
      ...estimateCells(one.gapRatio),
      one.seeds,
    ]),
  };
}

const reduction = (lora: number, qlora: number) => 100 * (1 - qlora / lora);

export function memoryTable(ranks: readonly MeasuredRank[], { ranks: others, source }: Published): Table {
  const theirs: readonly Column[] = [
    number('published_lora_mb', 'Published: LoRA MB', 0),
    number('published_qlora_mb', 'QLoRA MB', 0),
    number('published_reduction_percent', 'Reduction %', 1),
  ];
  return {
    name: 'memory_by_rank',
    title: 'Peak memory of a training step, by rank',
    note: `Planned and exact for the program of the device that trained (its records name it): weights, adapters, optimizer and activations, without the process and driver around it; 1 MB is ${megabyte.toLocaleString('en')} bytes.${others.length === 0 ? '' : ` Published: ${source}. Theirs was measured in another program and on another model than ours unless the report's head says the same; the two need not agree.`}`,
    columns: [
      rankColumn,
      number('lora_mb', 'LoRA MB', 2),
      number('qlora_mb', 'QLoRA MB', 2),
      number('reduction_percent', 'Reduction %', 1),
      ...(others.length === 0 ? [] : theirs),
    ],
    rows: ranks.map(({ rank, memory }): Cell[] => {
      const other = others.find((one) => one.rank === rank);
      const cells =
        other === undefined
          ? [null, null, null]
          : [other.lora_mb, other.qlora_mb, reduction(other.lora_mb, other.qlora_mb)];
      return [
        rank,
        memory.lora / megabyte,
        memory.qlora / megabyte,
        reduction(memory.lora, memory.qlora),
        ...(others.length === 0 ? [] : cells),
      ];
    }),
  };
}

export function lossTable(
  ranks: readonly MeasuredRank[],
  { ranks: others, source }: Published,
  how: Resampling,
): Table {
  return {
    name: 'loss_by_rank',
    title: 'Losses by rank',
    note: `Nats per token, mean over seeds: of training over all steps, and held out after the last. Drop: QLoRA's held-out loss above LoRA's, in percent, paired by prompt and seed. ${confidence(how.confidence)}${others.length === 0 ? '' : ` Published: ${source}; training loss, another model and data.`}`,
    columns: [
      rankColumn,
      number('training_lora', 'Training loss, LoRA', 4),
      number('training_qlora', 'QLoRA', 4),
      number('held_out_lora', 'Held-out loss, LoRA', 4),
      number('held_out_qlora', 'QLoRA', 4),
      ...estimateColumns('drop', 'Drop %', 2),
      ...(others.length === 0
        ? []
        : [number('published_lora', 'Published: LoRA', 4), number('published_qlora', 'QLoRA', 4)]),
    ],
    rows: ranks.map((one): Cell[] => {
      const other = others.find(({ rank }) => rank === one.rank);
      return [
        one.rank,
        one.training.lora,
        one.training.qlora,
        one.loss.lora,
        one.loss.qlora,
        ...estimateCells(one.drop),
        ...(others.length === 0 ? [] : [other?.lora_loss ?? null, other?.qlora_loss ?? null]),
      ];
    }),
  };
}
