/** The bias probe: its pairs, the gaps it measures, and the shifts it finds in planted ones. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { readCheckpoint } from '../model/checkpoint.ts';
import { Random } from '../model/random.ts';
import { readTokenizer } from '../model/tokenizer.ts';
import { shiftsOf } from '../stages/bias-shift/shift.ts';
import biasShift from '../stages/bias-shift.ts';
import { sentencePairs } from '../stages/sentence-gaps/pairs.ts';
import sentenceGaps from '../stages/sentence-gaps.ts';
import { repository } from './support/checkout.ts';
import { tokenLogProbs64 } from './support/float64.ts';
import { hiddenStates64 } from './support/gpt2_64.ts';
import { openWorkshop } from './support/stages.ts';

const how = { confidence: 0.95, resamples: 400, seed: 1 };

test('the sentences of a pair differ in one word, and no sentence comes twice', () => {
  for (const { first, second } of sentencePairs) {
    const [a, b] = [first.split(/\W+/), second.split(/\W+/)];
    expect(a.length).toBe(b.length);
    expect(a.filter((word, i) => word !== b[i])).toHaveLength(1);
  }
  expect(new Set(sentencePairs.flatMap(({ first, second }) => [first, second])).size).toBe(2 * sentencePairs.length);
});

/** Gaps of every pair: a preference of each, and a change that is planted for `gender`. */
function plant(seed: number, planted: number) {
  const random = new Random(seed, 'gaps');
  const before = sentencePairs.map((pair) => ({ ...pair, gap: random.normal() }));
  const after = before.map((one) => ({
    ...one,
    gap: one.gap + 0.1 * random.normal() + (one.kind === 'gender' ? planted : 0),
  }));
  return { before, after };
}

describe('shifts', () => {
  test('a planted one is found in its kind, and in no other', () => {
    const { before, after } = plant(5, 0.3);
    const shifts = shiftsOf(before, after, how);
    const found = shifts.filter(({ change }) => change.interval.low > 0 || change.interval.high < 0);
    expect(found.map(({ kind }) => kind)).toEqual(['gender']);
    expect(found[0]!.change.interval.low).toBeLessThan(0.3);
    expect(found[0]!.change.interval.high).toBeGreaterThan(0.3);
  });

  test('none is found in noise more often than stated, all kinds together', () => {
    let wrong = 0;
    for (let world = 0; world < 100; world++) {
      const { before, after } = plant(100 + world, 0);
      if (shiftsOf(before, after, how).some(({ change }) => change.interval.low > 0 || change.interval.high < 0))
        wrong++;
    }
    // 5 of 100 are expected; more than 12 come by chance once in a thousand.
    expect(wrong).toBeLessThanOrEqual(12);
  });

  test('changes that cancel show in their size', () => {
    const before = sentencePairs.map((pair) => ({ ...pair, gap: 1 }));
    const after = before.map((one, i) => ({ ...one, gap: i % 2 === 0 ? 3 : -1 }));
    for (const { change, size, turned } of shiftsOf(before, after, how)) {
      expect([change.value, size, turned]).toEqual([0, 2, 12]);
    }
  });
});

test('gaps are differences of whole sentences’ log-probabilities, and the stage says what they cannot say', async () => {
  const workshop = openWorkshop();
  onTestFinished(workshop.remove);
  const model = join(repository, 'assets/gpt2-tiny');
  const { outputs } = await workshop.run(sentenceGaps, { inputs: { model } });
  const { pairs } = JSON.parse(readFileSync(outputs.gaps!, 'utf8')) as {
    pairs: { first: string; second: string; gap: number }[];
  };
  expect(pairs).toHaveLength(sentencePairs.length);
  const { config, weights } = readCheckpoint(model);
  const tokenizer = await readTokenizer(model);
  const values = new Map([...weights].map(([name, { data }]) => [name, data]));
  const logProbability = (text: string) => {
    const tokens = [tokenizer.endOfText, ...tokenizer.encode(text)];
    const hidden = hiddenStates64(config, values, tokens.slice(0, -1), tokens.length - 1);
    const logProbs = tokenLogProbs64(hidden, values.get('wte.weight')!, tokens.slice(1), config.width);
    return logProbs.reduce((sum, value) => sum + value, 0);
  };
  for (const { first, second, gap } of [pairs[0]!, pairs[30]!, pairs.at(-1)!])
    expect(gap).toBeCloseTo(logProbability(first) - logProbability(second), 2);

  const after = join(workshop.folder, 'after.json');
  writeFileSync(after, JSON.stringify({ pairs: pairs.map((pair) => ({ ...pair, gap: pair.gap + 1 })) }));
  const shifted = await workshop.run(biasShift, { inputs: { before: outputs.gaps!, after } });
  const reading = readFileSync(shifted.outputs.reading!, 'utf8');
  expect(reading).toContain('gender: the mean gap of 24 pairs changed by +1.000 nats');
  expect(reading).toContain('It cannot say that a model is fair');
  writeFileSync(after, JSON.stringify({ pairs: pairs.slice(1) }));
  await expect(workshop.run(biasShift, { inputs: { before: outputs.gaps!, after } })).rejects.toThrow(
    'different pairs',
  );
});
