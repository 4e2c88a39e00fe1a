/** Results of the study's other questions, as their stages write them, with numbers made up for tests. */
import type { Cell, Column, Table } from '../../stages/compare/results.ts';
import type { Findings } from '../../stages/shared/findings.ts';

/** A table from rows by column; what a column's first cell is decides its kind. */
function table(name: string, rows: readonly Readonly<Record<string, Cell>>[]): Table {
  const columns = Object.entries(rows[0]!).map(([column, cell]): Column => {
    const label = column.replaceAll('_', ' ');
    return typeof cell === 'string'
      ? { name: column, label, kind: 'text' }
      : { name: column, label, kind: 'number', decimals: column === 'rank' ? 0 : 4 };
  });
  const cells = rows.map((row) => columns.map(({ name: column }) => row[column] ?? null));
  return { name, title: name.replaceAll('_', ' '), note: `What ${name} means.`, columns, rows: cells };
}

const control = (name: string, changed: string, cosine: number, match: number) => ({
  control: name,
  changed,
  cosine,
  cosine_low: cosine === 1 ? 1 : cosine - 0.03,
  cosine_high: cosine === 1 ? 1 : cosine + 0.03,
  token_match: match,
});

const runs = ['bf16 42', 'bf16 43', 'nf4 42', 'nf4 43'];

/** H1: two methods of one seed are alike, two seeds are not. */
export const impactFindings: Findings = {
  format: 2,
  subject: 'quantization-impact',
  verdicts: [
    {
      hypothesis: 'H1: nearly equal updates make QLoRA preferable.',
      measure: 'cosine of the updates',
      outcome: 'partly',
      answer: 'The cosine is 0.961 (0.951 to 0.971), above 0.95, and tokens match in 0.939.',
      floor: 'another seed alone gives 0.082',
      rule: 'Supported if both are above 0.95.',
      evidence: [{ label: 'Cosine', value: '0.961 (0.951 to 0.971)' }],
    },
  ],
  tables: [
    table('ladder', [
      control('repeat', 'nothing', 1, 1),
      control('order', 'the order of the data', 0.516, 0.92),
      control('init', 'the first values of A', 0.151, 0.97),
      control('both', 'the order and A: another seed', 0.082, 0.923),
      control('nf4', 'the base: NF4, double quantization', 0.961, 0.939),
      control('nf4-single', 'the base: NF4, single quantization', 0.9611, 0.94),
    ]),
    table('gaps', [
      { measure: '1 − token match', against: 'both', ratio: 0.77, ratio_low: 0.4, ratio_high: 1.6 },
      { measure: 'KL', against: 'both', ratio: 2.5, ratio_low: 1.9, ratio_high: 3.1 },
    ]),
    table(
      'weight_similarity',
      runs.map((run) => ({
        run,
        ...Object.fromEntries(
          runs.map((other) => [other, run === other ? 1 : run.slice(-2) === other.slice(-2) ? 0.961 : 0.09]),
        ),
      })),
    ),
    table('step_time', [
      {
        configuration: 'rank 2',
        lora_ms: 50.1,
        qlora_ms: 55.2,
        relative_speed: 1.1,
        machine: 'A processor, 2 threads',
      },
      { configuration: 'q+k+v+o', lora_ms: 61, qlora_ms: 60, relative_speed: 0.98, machine: 'A processor, 2 threads' },
    ]),
    table('quantization_error', [
      { layer: '0', error_of_update: 2.5 },
      { layer: 'all', error_of_update: 2.39 },
    ]),
    table('adapter_swaps', [
      { base: 'bf16', other: 'QLoRA', difference: 0.001, difference_low: -0.002, difference_high: 0.004 },
      { base: 'nf4', other: 'LoRA', difference: 0.016, difference_low: 0.01, difference_high: 0.02 },
    ]),
    table('margins', [
      { comparison: 'order', margin_from: 0, margin_to: '0.1', tokens: 36, token_match: 0.4 },
      { comparison: 'nf4', margin_from: 0, margin_to: '0.1', tokens: 36, token_match: 0.61 },
      { comparison: 'nf4', margin_from: 3, margin_to: 'no end', tokens: 386, token_match: 0.99 },
    ]),
  ],
  limits: ['One base was looked at.'],
};

/** H3: ranks 2, 4 and 8 fall short of 0.95 with part of their intervals, 16 does not. */
export const rankFindings: Findings & { readonly r_star: number | null; readonly threshold: number } = {
  format: 2,
  subject: 'rank-threshold',
  r_star: 16,
  threshold: 0.95,
  verdicts: [
    {
      hypothesis: 'H3: there is a minimum rank.',
      measure: 'token match by rank',
      outcome: 'supported',
      answer: 'r* is 16.',
      floor: 'two LoRA seeds match in 0.92',
      rule: 'Supported if r* is larger than the smallest rank.',
      evidence: [{ label: 'r*', value: '16' }],
    },
  ],
  tables: [
    table(
      'rank_threshold',
      [2, 4, 8, 16].map((rank, i) => ({
        rank,
        token_match: 0.93 + 0.01 * i,
        token_match_low: 0.925 + 0.01 * i,
        token_match_high: 0.935 + 0.01 * i,
        embedding_cosine: 0.98 + 0.004 * i,
        embedding_cosine_low: 0.978 + 0.004 * i,
        embedding_cosine_high: 0.982 + 0.004 * i,
        seed_match: 0.92,
      })),
    ),
    table(
      'memory_by_rank',
      [2, 4, 8, 16].map((rank) => ({
        rank,
        lora_mb: 17.5 + 0.025 * rank,
        qlora_mb: 16.4 + 0.025 * rank,
        reduction_percent: 6.5,
        published_lora_mb: 11620 + rank,
        published_qlora_mb: 3284 + rank,
      })),
    ),
  ],
  limits: [],
};

/** The published pair: two layers, one of them as somebody published it. */
export const adapterFindings: Findings = {
  format: 2,
  subject: 'adapters',
  verdicts: [],
  tables: [
    table('adapters_by_layer', [
      { layer: '0', cosine: 0.8947, relative_difference: 0.4683 },
      { layer: '1', cosine: 0.8243, relative_difference: 0.5951 },
      { layer: 'all', cosine: 0.88, relative_difference: 0.48 },
    ]),
    table('published_check', [{ layer: '0', cosine_published: 0.8947, relative_difference_published: 0.4683 }]),
  ],
  limits: [],
};
