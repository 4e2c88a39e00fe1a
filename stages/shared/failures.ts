/** Failure modes that the numbers show: each is a rule over a table, with its symptom, cause, evidence and mitigation. */
import { formatNumber, listed } from './format.ts';
import { type Row, rowsOf, tableWith } from './rows.ts';
import type { Study } from './study.ts';

/** Something that went wrong, or that would mislead whoever did not look for it. */
export interface FailureMode {
  readonly symptom: string;
  readonly cause: string;
  /** The numbers by which the rule found it. */
  readonly evidence: string;
  readonly mitigation: string;
  /** The study whose table shows it. */
  readonly subject: string;
  readonly table: string;
}

/** Looks at one table; `find` gives null where the table shows nothing of the kind. */
interface Rule {
  readonly table: string;
  readonly columns: readonly string[];
  find(rows: readonly Row[], study: Study): Omit<FailureMode, 'subject' | 'table'> | null;
}

/** Every failure mode of the studies, in the order of the rules. A rule whose table is not there finds nothing. */
export function failureModes(studies: readonly Study[]): readonly FailureMode[] {
  return rules.flatMap((rule) =>
    studies.flatMap((study) => {
      const table = tableWith(study.tables, rule.table, rule.columns);
      if (table === null) return [];
      const found = rule.find(rowsOf(table), study);
      return found === null ? [] : [{ ...found, subject: study.subject, table: table.name }];
    }),
  );
}

const interval = (row: Row, name: string) =>
  `${row.text(name)} (${row.text(`${name}_low`)} to ${row.text(`${name}_high`)})`;
/** The rows that set the methods against runs of another seed altogether, where the table has them. */
function againstSeeds(rows: readonly Row[]): readonly Row[] {
  const both = rows.filter((row) => row.text('against') === 'both');
  return both.length > 0 ? both : rows;
}

function gapText(rows: readonly Row[]): string {
  const ratios = rows.map((row) => `${row.text('measure')}: ${interval(row, 'ratio')}`).join('; ');
  return `Gap between the methods over the gap between seeds: ${ratios}.`;
}

const rules: readonly Rule[] = [
  {
    table: 'ladder',
    columns: ['control', 'cosine'],
    find(rows) {
      const repeat = rows.find((row) => row.text('control') === 'repeat');
      if (repeat === undefined || repeat.number('cosine') === null || repeat.number('cosine') === 1) return null;
      return {
        symptom: 'The same run gives another result when it is repeated.',
        cause: 'Something outside the parameters takes part: an unseeded draw, or sums in a changing order.',
        evidence: `The cosine of the update with its own repeat is ${repeat.text('cosine')}, not 1.`,
        mitigation: 'Find it before any other comparison is read: no difference smaller than this one means anything.',
      };
    },
  },
  {
    table: 'ladder',
    columns: ['control', 'cosine'],
    find(rows) {
      const by = (control: string) => rows.find((row) => row.text('control') === control);
      const [method, init] = [by('nf4'), by('init') ?? by('both')];
      if (method === undefined || init === undefined) return null;
      if ((init.number('cosine') ?? 1) >= (method.number('cosine') ?? 0)) return null;
      return {
        symptom: 'Updates of the same method look less alike than updates of two methods.',
        cause: 'The product BA keeps the direction in which A happened to begin: the cosine measures the seed first.',
        evidence: `Cosine of the updates: ${method.text('cosine')} between LoRA and QLoRA of one seed, ${init.text('cosine')} between two LoRA runs that differ in A's first values.`,
        mitigation: 'Compare runs of one seed, and set every gap beside the gap between seeds.',
      };
    },
  },
  {
    table: 'gaps',
    columns: ['measure', 'against', 'ratio', 'ratio_low', 'ratio_high'],
    find(rows) {
      const above = againstSeeds(rows).filter((row) => (row.number('ratio_low') ?? 0) > 1);
      if (above.length === 0) return null;
      return {
        symptom: 'LoRA and QLoRA differ by more than chance.',
        cause: 'The adapter is trained on, and answers to, a base whose weights are rounded.',
        evidence: gapText(above),
        mitigation: 'Where this matters, keep the base in 16 bits, or the most sensitive matrices of it.',
      };
    },
  },
  {
    table: 'gaps',
    columns: ['measure', 'against', 'ratio', 'ratio_low', 'ratio_high'],
    find(rows) {
      const open = againstSeeds(rows).filter(
        (row) => (row.number('ratio_low') ?? 0) <= 1 && (row.number('ratio_high') ?? 0) > 1,
      );
      if (open.length === 0) return null;
      return {
        symptom: 'Whether LoRA and QLoRA differ by more than chance cannot be told.',
        cause: 'Too few seeds and prompts for the size of the difference.',
        evidence: gapText(open),
        mitigation: 'More seeds: each costs its own runs alone, what is there is not computed again.',
      };
    },
  },
  {
    table: 'family_sensitivity',
    columns: ['family', 'percent', 'percent_low', 'percent_high'],
    find(rows) {
      const hurt = rows.filter((row) => (row.number('percent_low') ?? 0) > 0);
      if (hurt.length === 0) return null;
      return {
        symptom: `Held-out loss rises when ${listed(hurt.map((row) => row.text('family')))} ${hurt.length === 1 ? 'is' : 'are'} stored in 4 bits.`,
        cause:
          'Rounding these weights moves what the model computes where it counts; without training nothing makes up for it.',
        evidence: hurt.map((row) => `${row.text('family')}: ${interval(row, 'percent')} % more loss`).join('; '),
        mitigation: 'Store these families in 8 or 16 bits and the others in 4, or train adapters on them.',
      };
    },
  },
  {
    table: 'family_sensitivity',
    columns: ['family', 'percent', 'percent_low', 'percent_high'],
    find(rows) {
      const lower = rows.filter((row) => (row.number('percent_high') ?? 0) < 0);
      if (lower.length === 0) return null;
      return {
        symptom: `Held-out loss falls when ${listed(lower.map((row) => row.text('family')))} ${lower.length === 1 ? 'is' : 'are'} rounded.`,
        cause: 'The base is not at its best on these records: rounding moves it, and by chance the right way.',
        evidence: lower.map((row) => `${row.text('family')}: ${interval(row, 'percent')} %`).join('; '),
        mitigation: 'Do not count it as a gain: it holds for this base on these records, and tuning takes it away.',
      };
    },
  },
  {
    table: 'family_sensitivity',
    columns: ['family'],
    find(_, { comparison }) {
      const reference = comparison?.sensitivity?.reference;
      if (reference === undefined || reference.uniformLoss === null || reference.loss <= reference.uniformLoss)
        return null;
      return {
        symptom: 'The base does worse than a uniform guess.',
        cause: 'It was pretrained on other text than these records, and is sure of what is wrong.',
        evidence: `Loss ${formatNumber(reference.loss, 4)} nats per token against ${formatNumber(reference.uniformLoss, 4)} of a guess.`,
        mitigation:
          'Read sensitivities of this base as differences at that level, or use a base that knows the language.',
      };
    },
  },
  {
    table: 'adapter_swaps',
    columns: ['base', 'other', 'difference', 'difference_low', 'difference_high'],
    find(rows) {
      const worse = rows.filter((row) => (row.number('difference_low') ?? 0) > 0);
      if (worse.length === 0) return null;
      return {
        symptom: 'A base does worse with the adapter that was trained on the other base.',
        cause: 'An adapter learns on one rounding of the weights, and part of what it learns fits that one alone.',
        evidence: worse
          .map(
            (row) =>
              `${row.text('base')} with the adapter of ${row.text('other')}: ${interval(row, 'difference')} nats per token more`,
          )
          .join('; '),
        mitigation: 'Serve an adapter on the base that it was trained on, in the same precision.',
      };
    },
  },
  {
    table: 'quantization_error',
    columns: ['layer', 'error_of_update'],
    find(rows) {
      const all = rows.find((row) => row.text('layer') === 'all') ?? rows.at(-1);
      const ratio = all?.number('error_of_update') ?? 0;
      if (all === undefined || ratio <= 1) return null;
      return {
        symptom: 'Rounding moves the weights further than training does.',
        cause:
          'Training is short and moves each weight a little; rounding moves it by up to half the distance between two of 16 values.',
        evidence: `The quantization error is ${all.text('error_of_update')} times as long as the learned update, over all layers.`,
        mitigation: 'Look at the error and the update together: two equal updates do not make two equal models.',
      };
    },
  },
  {
    table: 'margins',
    columns: ['comparison', 'margin_from', 'token_match'],
    find(rows) {
      const method = rows.filter((row) => row.text('comparison') === 'nf4' && row.number('token_match') !== null);
      const least = method.find((row) => row.number('margin_from') === 0);
      const most = method.at(-1);
      if (least === undefined || most === undefined || least === most) return null;
      if (least.number('token_match')! >= most.number('token_match')!) return null;
      return {
        symptom: 'The two models choose different tokens, mostly where they were undecided.',
        cause: 'Where the two likeliest tokens are close, any small change turns the choice.',
        evidence: `Same choice in ${least.text('token_match')} of the tokens with the smallest margin, in ${most.text('token_match')} with the largest.`,
        mitigation: 'Report token match by margin; a bare rate measures how undecided the records leave the model.',
      };
    },
  },
  {
    table: 'quality',
    columns: ['greedyMatch', 'firstDivergence', 'top1Agreement'],
    find(rows) {
      const differing = rows.filter((row) => (row.number('greedyMatch') ?? 1) < (row.number('top1Agreement') ?? 0));
      const worst = differing.toSorted((a, b) => a.number('greedyMatch')! - b.number('greedyMatch')!)[0];
      if (worst === undefined) return null;
      return {
        symptom: 'Generated texts part early, though nearly every single choice is the same.',
        cause:
          'One other token changes all that comes after it; the rest of the text is no longer compared like with like.',
        evidence: `Choices on the same text agree in ${worst.text('top1Agreement')}, generated tokens in ${worst.text('greedyMatch')}; texts part after ${worst.text('firstDivergence')} tokens (${worst.text('configuration')}).`,
        mitigation:
          'Judge by teacher-forced agreement, KL and loss; use generated text for its length to the first difference.',
      };
    },
  },
  {
    table: 'performance',
    columns: ['configuration', 'memory_reduction_percent'],
    find(rows) {
      const saved = rows.filter((row) => (row.number('memory_reduction_percent') ?? 100) < 25);
      if (saved.length === 0) return null;
      return {
        symptom: 'A base in 4 bits hardly lowers the peak memory of training.',
        cause: 'At this size of model and batch, activations take most of the memory, and 4 bits do not touch them.',
        evidence: saved
          .map((row) => `${row.text('configuration')}: ${row.text('memory_reduction_percent')} %`)
          .join('; '),
        mitigation:
          'Smaller batches, or activations computed again: then the base is what counts. In larger models it is so from the start.',
      };
    },
  },
  {
    table: 'step_time',
    columns: ['configuration', 'relative_speed'],
    find(rows) {
      const slow = rows.filter(
        (row) => (row.number('relative_speed') ?? 0) > 1.05 && (row.number('relative_from') ?? 2) > 1,
      );
      if (slow.length === 0) return null;
      return {
        symptom: 'A training step takes longer on the 4-bit base.',
        cause: 'Each use of a weight decodes it first, forward and backward.',
        evidence: slow
          .map((row) => `${row.text('configuration')}: ${row.text('relative_speed')} times as long`)
          .join('; '),
        mitigation: 'Larger batches share one decoding among more tokens; where memory allows it, keep 16 bits.',
      };
    },
  },
  {
    table: 'rank_threshold',
    columns: ['rank', 'token_match', 'token_match_low', 'token_match_high'],
    find(rows) {
      const [low, high] = [rows[0], rows.at(-1)];
      if (low === undefined || high === undefined || low === high) return null;
      if ((high.number('token_match_low') ?? 0) > (low.number('token_match_high') ?? 1)) return null;
      return {
        symptom: 'A higher rank does not bring the two models closer.',
        cause:
          'What rank can repair is already repaired at the lowest, or the difference is not one that rank repairs.',
        evidence: `Token match ${interval(low, 'token_match')} at rank ${low.text('rank')}, ${interval(high, 'token_match')} at rank ${high.text('rank')}.`,
        mitigation: 'Do not buy rank for the sake of the precision; choose it by the loss.',
      };
    },
  },
];
