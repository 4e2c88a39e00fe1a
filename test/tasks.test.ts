/** The records of tasks: arithmetic, Alpaca's categories, generated kinds. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import arithmetic from '../stages/arithmetic.ts';
import category from '../stages/category.ts';
import { instructionRecords, taskKinds } from '../stages/world/generate.ts';
import { repository } from './support/checkout.ts';
import { openWorkshop } from './support/stages.ts';

type Records = { instruction: string; input: string; output: string }[];

async function recordsOf(stage: typeof arithmetic | typeof category, text: string, params = {}): Promise<Records> {
  const workshop = openWorkshop();
  onTestFinished(workshop.remove);
  const file = join(workshop.folder, 'records.txt');
  writeFileSync(file, text);
  const { outputs } = await workshop.run(stage as typeof category, { params, inputs: { file } });
  return JSON.parse(readFileSync(outputs.file!, 'utf8')) as Records;
}

describe('arithmetic', () => {
  const line = (answer: string, question = 'How many?') => JSON.stringify({ question, answer });

  test('keeps the question and the worked answer, without the calculator’s notes, and says the result', async () => {
    const answer = 'She sold 48/2 = <<48/2=24>>24 clips in May.\nTogether 48+24 = <<48+24=72>>72.\n#### 72';
    expect(
      await recordsOf(
        arithmetic,
        `${line(answer)}\n\n${line('#### 1,000')}\n`.replace('#### 1,000', 'So.\\n#### 1,000'),
      ),
    ).toEqual([
      {
        instruction: 'How many?',
        input: '',
        output: 'She sold 48/2 = 24 clips in May.\nTogether 48+24 = 72.\nThe answer is 72.',
      },
      { instruction: 'How many?', input: '', output: 'So.\nThe answer is 1,000.' },
    ]);
  });

  test.each([
    ['{"question": "a"}', 'line 1 must be { "question": text, "answer": text }'],
    [`${line('One.\n#### 1')}\nnonsense`, 'line 2 is not JSON'],
    [line('It is 4.'), 'line 1: the answer does not end in a line "#### result"'],
    ['\n', 'holds no questions'],
  ])('refuses %j', async (text, message) => {
    await expect(recordsOf(arithmetic, text)).rejects.toThrow(message);
  });

  const gsm8k = join(repository, '..', 'shared', 'data', 'gsm8k-train.jsonl');
  test('reads every question of GSM8K', async (context) => {
    if (!existsSync(gsm8k)) context.skip(`there is no GSM8K at ${gsm8k}`);
    const records = await recordsOf(arithmetic, readFileSync(gsm8k, 'utf8'));
    expect(records).toHaveLength(7473);
    for (const { output } of records) {
      expect(output).toMatch(/\nThe answer is [^\n]+\.$/);
      expect(output).not.toMatch(/<<|>>|####/);
    }
  });
});

test('a category holds the records that begin with its words, whatever their case and marks', async () => {
  const records = ['Rewrite this.', '"edit" the text', 'Describe a rewrite.', 'Rewriting is fun'].map(
    (instruction) => ({
      instruction,
      input: '',
      output: 'x',
    }),
  );
  const chosen = await recordsOf(category, JSON.stringify(records), { words: ['rewrite', 'edit'] });
  expect(chosen).toEqual(records.slice(0, 2));
  await expect(recordsOf(category, JSON.stringify(records), { words: ['name'] })).rejects.toThrow(
    'none of the 4 records',
  );
});

describe('generated kinds', () => {
  test('part the instructions: all kinds together are what no kind gives', () => {
    const all = new Set(instructionRecords(3, 400).map(({ instruction }) => instruction.split(' ')[0]));
    const parts = taskKinds.map((kind) => instructionRecords(3, 300, [kind]));
    const words = parts.map((part) => new Set(part.map(({ instruction }) => instruction.split(' ')[0])));
    for (const word of all) expect(words.some((some) => some.has(word))).toBe(true);
    const keys = parts.map((part) => new Set(part.map(({ instruction, input }) => `${instruction}\n${input}`)));
    for (const [i, one] of keys.entries())
      for (const other of keys.slice(i + 1)) expect([...one].filter((key) => other.has(key))).toEqual([]);
  });
});
