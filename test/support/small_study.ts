/** The project's experiment in small: every stage of it, on a model and records that take a second, as a pipeline's files. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCheckpoint } from '../../model/checkpoint.ts';
import { initialWeights } from '../../model/initial.ts';
import { instructionRecords } from '../../stages/world/generate.ts';
import { repository } from './checkout.ts';

/** A GPT-2 of 2 layers and width 64 that has learnt nothing, with the tokenizer of assets/gpt2-tiny. */
export function toyCheckpoint(folder = 'models/toy'): Record<string, Uint8Array> {
  const config = { vocabSize: 2048, contextLength: 128, width: 64, layers: 2, heads: 2, epsilon: 1e-5 };
  const written = mkdtempSync(join(tmpdir(), 'pipe-toy-'));
  try {
    writeCheckpoint(written, { config, weights: initialWeights(config, 1) }, 'BF16');
    const files = readdirSync(written).map((name) => [`${folder}/${name}`, readFileSync(join(written, name))] as const);
    const tokenizer = readFileSync(join(repository, 'assets', 'gpt2-tiny', 'tokenizer.json'));
    return { ...Object.fromEntries(files), [`${folder}/tokenizer.json`]: tokenizer };
  } finally {
    rmSync(written, { recursive: true });
  }
}

/** The text of records that `instructions` generates with seed 7 and the given count. */
export const recordsText = (count: number) => `${JSON.stringify(instructionRecords(7, count), null, 1)}\n`;

/** The stages before training, by the names that they have in both pipelines. */
const shared = `
  base:
    uses: download
    with: { from: models/toy, files: [config.json, model.safetensors, tokenizer.json] }
  tokens:
    uses: tokenize
    in: { data: data.file, model: base.file }
    with: { max_length: 96, validation: 0.2 }
  quantize:
    uses: quantize
    matrix: { precision: [bf16, nf4] }
    in: { base: base.file }
    with: { precision: '\${{ matrix.precision }}' }`;

/** From records to a report: 21 tasks. */
export const smallPipeline = `name: small
params:
  lr: 0.002
  ranks: [2]
stages:
  data:
    uses: download
    with: { from: data/records.json }${shared}
  train:
    uses: train
    matrix: &grid
      rank: \${{ params.ranks }}
      precision: [bf16, nf4]
      seed: [1, 2]
    in: { base: quantize.model, data: tokens.dataset }
    with:
      { targets: q+v, rank: '\${{ matrix.rank }}', steps: 3, warmup: 1, batch: 4, lr: '\${{ params.lr }}', eval_every: 2, seed: '\${{ matrix.seed }}' }
  evaluate:
    uses: evaluate
    matrix: *grid
    in:
      model: quantize.model
      adapter: train.adapter
      reference: { from: quantize.model, where: { precision: bf16 } }
      reference_adapter: { from: train.adapter, where: { precision: bf16 } }
      data: tokens.dataset
    with: { examples: 8, greedy_examples: 2, greedy_tokens: 4 }
  quantize-family:
    uses: quantize
    matrix: &families { family: [q, fc], layers: [all] }
    in: { base: base.file }
    with: { matrices: '\${{ matrix.family }}' }
  evaluate-family:
    uses: evaluate
    matrix: *families
    in:
      model: quantize-family.model
      reference: &base16 { from: quantize.model, where: { precision: bf16 } }
      data: tokens.dataset
    with: { examples: 8 }
  evaluate-base:
    uses: evaluate
    in: { model: *base16, reference: *base16, data: tokens.dataset }
    with: { examples: 8 }
  compare:
    uses: compare
    in:
      metrics: { all: evaluate.metrics }
      summaries: { all: train.summary }
      curves: { all: train.curve }
      families: { all: evaluate-family.metrics }
      counts: { all: quantize-family.summary }
      unquantized: evaluate-base.metrics
    with: { rows: [rank] }
  plot:
    uses: plot
    in: { results: compare.results }
  report:
    uses: report
    in: { results: { all: compare.results }, figures: { all: plot.figures }, summaries: { all: train.summary } }
    with: { title: A small study, question: Which precision? }
publish:
  tables: compare.tables
  figures: plot.figures
  report.html: report.page
  report.md: report.markdown
`;

/** Another experiment on the same base and records, which it generates itself. */
export const otherPipeline = `name: other
stages:
  data:
    uses: instructions
    with: { seed: 7, count: 60 }${shared}
  evaluate:
    uses: evaluate
    in:
      model: { from: quantize.model, where: { precision: nf4 } }
      reference: { from: quantize.model, where: { precision: bf16 } }
      data: tokens.dataset
    with: { examples: 4 }
publish:
  metrics.json: evaluate.metrics
`;

/** The files of a project with both pipelines. */
export function smallStudy(): Record<string, string | Uint8Array> {
  return {
    ...toyCheckpoint(),
    'data/records.json': recordsText(60),
    'pipelines/small.yaml': smallPipeline,
    'pipelines/other.yaml': otherPipeline,
  };
}
