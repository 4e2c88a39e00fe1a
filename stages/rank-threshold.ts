/** Stage: H3, the rank from which low rank makes up for quantization: tables by rank, r*, and a verdict by a stated rule. */
import { defineStage } from '../engine/stage.ts';
import { readRanks } from './rank-threshold/inputs.ts';
import { measureRanks } from './rank-threshold/measure.ts';
import { lossTable, memoryTable, type PublishedRank, thresholdTable } from './rank-threshold/tables.ts';
import { type RankRule, rankVerdict, smallestRank } from './rank-threshold/verdict.ts';
import { writeFindings } from './shared/findings.ts';
import { resamplingOf, resamplingParams } from './shared/resampling.ts';

export default defineStage({
  description: 'Finds the rank from which QLoRA matches LoRA, and judges whether there is one: tables and a verdict.',
  params: {
    reference: { type: 'string', default: 'bf16', description: 'The value of the axis `precision` that is LoRA.' },
    method: { type: 'string', default: 'nf4', description: 'The value that is QLoRA.' },
    hypothesis: { type: 'string', description: 'What the verdict is on.' },
    threshold: { type: 'number', default: 0.95, description: 'What token match and embedding cosine must reach.' },
    ...resamplingParams,
    published: {
      type: 'array',
      items: { type: 'object' },
      default: [],
      description: 'Figures of others, shown beside ours: rank, lora_mb, qlora_mb, lora_loss, qlora_loss.',
    },
    source: { type: 'string', default: '', description: 'Where those figures are from.' },
  },
  inputs: {
    metrics: {
      many: true,
      description: "evaluate's metrics over rank, precision and seed, each beside LoRA of its rank and seed.",
    },
    noise: {
      many: true,
      optional: true,
      description: "evaluate's metrics of LoRA beside LoRA of another seed, over rank and seed.",
    },
    summaries: { many: true, description: "train's summaries over rank, precision and seed: peak memory." },
    curves: { many: true, description: "train's loss curves over rank, precision and seed." },
  },
  outputs: {
    results: { path: 'results.json', description: 'Verdict, r*, tables and limits.' },
    tables: { path: 'tables', description: 'Every table as CSV and Markdown.' },
  },
  run({ params, inputs, outputs, log }) {
    const how = resamplingOf(params);
    const rule: RankRule = { hypothesis: params.hypothesis, threshold: params.threshold, confidence: how.confidence };
    const grid = readRanks(inputs, { reference: params.reference, method: params.method });
    const ranks = measureRanks(grid, how);
    const star = smallestRank(ranks, rule);
    const verdict = rankVerdict(ranks, grid, rule, how);
    const published = { ranks: params.published as unknown as readonly PublishedRank[], source: params.source };
    const [first] = grid.ranks[0]!.lora;
    writeFindings(outputs, {
      format: 2,
      subject: 'rank-threshold',
      r_star: star,
      threshold: params.threshold,
      verdicts: [verdict],
      tables: [thresholdTable(ranks, rule), memoryTable(ranks, published), lossTable(ranks, published, how)],
      limits: [
        `Ranks ${ranks.map(({ rank }) => rank).join(', ')} were tried with ${grid.seeds.length} seeds, ${first!.examples} held-out examples and one base model: a threshold between two of them, or below or above all, is not seen.`,
        `Adapters were trained for ${grid.ranks[0]!.steps} steps on one kind of records. A harder task, or a longer training, may need a higher rank.`,
        'alpha / r is the same at every rank: the scale of the updates does not change with it.',
      ],
    });
    log(`${verdict.outcome}: ${verdict.answer}`);
  },
});
