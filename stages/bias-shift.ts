/** Stage: sets a model's preferences between paired sentences before and after quantization side by side. */
import { writeFileSync } from 'node:fs';
import { defineStage, StageError } from '../engine/stage.ts';
import { readJson } from '../model/json.ts';
import { type Gap, type Shift, shiftsOf } from './bias-shift/shift.ts';
import type { Table } from './compare/results.ts';
import { estimateCells, estimateColumns, number, text } from './shared/columns.ts';
import { writeFindings } from './shared/findings.ts';
import { formatInterval, formatNumber, formatSigned } from './shared/format.ts';
import { resamplingOf, resamplingParams } from './shared/resampling.ts';

/** What such a probe can and cannot say, whatever came out. */
const limits = [
  'It can say: on these pairs, quantization moved the preference by so much, within an interval. It measures a change between two models, not whether either is fair.',
  'It cannot say that a model is fair or unfair to anybody: a preference in likelihood is no act, and two sentences that differ in one word differ in more than a group (how often the word is used, and where).',
  'Pairs are few and written by hand, in one language, with two groups a kind. Intervals are over these pairs, not over what people write.',
  'A mean hides changes that cancel, so the mean size of the changes stands beside it. The neutral pairs name no group: they show how far quantization moves any preference, and only what goes beyond them would be about groups.',
  'No difference that can be told is not no difference: so many pairs could not show a smaller one.',
  'A model whose vocabulary breaks these words into pieces, or that has not learnt them, has no opinion worth the name: the embedded one is such a model, and shows the machinery alone.',
] as const;

export default defineStage({
  description:
    'Says how far quantization moves preferences between paired sentences, with intervals, and what that means.',
  params: resamplingParams,
  inputs: {
    before: { description: "sentence-gaps' gaps of the model in 16 bits." },
    after: { description: "sentence-gaps' gaps of the quantized model." },
  },
  outputs: {
    results: { path: 'results.json', description: 'Tables, and what they can and cannot say.' },
    tables: { path: 'tables', description: 'By kind, and every pair: CSV and Markdown.' },
    reading: { path: 'reading.md', description: 'The result in sentences, and what it can and cannot say.' },
  },
  run({ params, inputs, outputs }) {
    const [before, after] = [readGaps(inputs.before), readGaps(inputs.after)];
    if (before.length !== after.length || before.some(({ first }, i) => after[i]!.first !== first))
      throw new StageError('before and after are gaps of different pairs: measure both with the same stage');
    const how = resamplingOf(params);
    const shifts = shiftsOf(before, after, how);
    const tables = [shiftTable(shifts, how.confidence), pairTable(before, after)];
    writeFindings(outputs, { format: 2, subject: 'bias-probe', verdicts: [], tables, limits });
    writeFileSync(outputs.reading, reading(shifts));
  },
});

/** @throws StageError when the file is not what sentence-gaps writes. */
function readGaps(path: string): readonly Gap[] {
  const { pairs } = Object(readJson(path)) as { readonly pairs?: readonly Gap[] };
  if (Array.isArray(pairs)) return pairs;
  throw new StageError(`${path} holds no pairs: give the artifact \`gaps\` of a sentence-gaps stage`);
}

function shiftTable(shifts: readonly Shift[], confidence: number): Table {
  return {
    name: 'preference_shift',
    title: 'How far quantization moves preferences',
    note: `Gap: log-probability of the first sentence less the second, in nats (he against she, young against old, book against letter). Change: after less before, paired; intervals (${formatNumber(100 * confidence, 0)} %) are bootstrapped over pairs and hold for all kinds together. Turned: pairs whose preferred sentence is now the other.`,
    columns: [
      text('kind', 'Pairs about'),
      number('pairs', 'Pairs', 0),
      number('before', 'Mean gap, before', 3),
      number('after', 'After', 3),
      ...estimateColumns('change', 'Change', 3),
      number('size', 'Mean size of changes', 3),
      number('turned', 'Turned', 0),
    ],
    rows: shifts.map(({ kind, pairs, before, after, change, size, turned }) => [
      kind,
      pairs,
      before,
      after,
      ...estimateCells(change),
      size,
      turned,
    ]),
  };
}

function pairTable(before: readonly Gap[], after: readonly Gap[]): Table {
  return {
    name: 'pairs',
    title: 'Every pair',
    note: 'Gap: log-probability of the first sentence less the second, in nats.',
    columns: [
      text('kind', 'About'),
      text('first', 'First'),
      text('second', 'Second'),
      number('before', 'Before', 3),
      number('after', 'After', 3),
    ],
    rows: before.map(({ kind, first, second, gap }, i) => [kind, first, second, gap, after[i]!.gap]),
  };
}

function reading(shifts: readonly Shift[]): string {
  const sentences = shifts.map(({ kind, pairs, change, size }) => {
    const { low, high } = change.interval;
    const told = low > 0 || high < 0 ? 'can be told from zero' : 'cannot be told from zero';
    return `- ${kind}: the mean gap of ${pairs} pairs changed by ${formatSigned(change.value, 3)} nats (${formatInterval(change.interval, 3)}), which ${told}; single gaps moved by ${formatNumber(size, 3)} on average.`;
  });
  return `# What the probe found, and what it means\n\n${sentences.join('\n')}\n\n${limits.map((limit) => `- ${limit}`).join('\n')}\n`;
}
