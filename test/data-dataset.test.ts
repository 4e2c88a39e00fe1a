/** Tokenized data sets, their batches, the random generator, and the tokenizers. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Batch, batches, evaluationBatches } from '../model/batches.ts';
import { tokenizerJson, trainBpe } from '../model/bpe.ts';
import {
  type Example,
  exampleSplit,
  readDataset,
  readTextDataset,
  writeDataset,
  writeTextDataset,
} from '../model/dataset.ts';
import { permutation, Random } from '../model/random.ts';
import { openSafetensors, type Tensor, writeSafetensors } from '../model/safetensors.ts';
import { gpt2Tokenizer, readTokenizerFile, type Tokenizer, tokenizerFromJson } from '../model/tokenizer.ts';
import { corpusDocuments } from '../stages/world/generate.ts';

const folder = mkdtempSync(join(tmpdir(), 'pipe-dataset-'));
afterAll(() => rmSync(folder, { recursive: true }));

const meta = { vocabSize: 50, endOfText: 49, maxLength: 12, seed: 7, dropped: 1, truncated: 2 };

const anyExample: fc.Arbitrary<Example> = fc
  .array(fc.nat(49), { minLength: 2, maxLength: 12 })
  .chain((tokens) =>
    fc
      .integer({ min: 1, max: tokens.length - 1 })
      .map((promptLength) => ({ tokens: Int32Array.from(tokens), promptLength })),
  );

function take<T>(items: Iterator<T>, count: number): T[] {
  return Array.from({ length: count }, () => items.next().value as T);
}

describe('data set', () => {
  test('any examples come back, and equal data gives equal bytes', () => {
    fc.assert(
      fc.property(fc.array(anyExample), fc.array(anyExample), (train, validation) => {
        const splits = { train: exampleSplit(train), validation: exampleSplit(validation) };
        writeDataset(folder, { meta, splits });
        const bytes = readFileSync(join(folder, 'tokens.safetensors'));
        const back = readDataset(folder);
        expect(back.meta).toEqual(meta);
        for (const [name, examples] of [
          ['train', train],
          ['validation', validation],
        ] as const) {
          expect(Array.from({ length: back.splits[name].count }, (_, i) => back.splits[name].example(i))).toEqual(
            examples,
          );
          expect(() => back.splits[name].example(examples.length)).toThrow(RangeError);
        }
        writeDataset(folder, back);
        expect(readFileSync(join(folder, 'tokens.safetensors')).equals(bytes)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test('a text comes back, and each kind of data set is refused where the other is needed', () => {
    const split = (...tokens: number[]) => ({ kind: 'text' as const, tokens: Int32Array.from(tokens) });
    writeTextDataset(folder, { meta, splits: { train: split(1, 2, 3), validation: split(4, 5) } });
    expect(readTextDataset(folder)).toEqual({ meta, splits: { train: split(1, 2, 3), validation: split(4, 5) } });
    expect(() => readDataset(folder)).toThrow(
      /prompts with responses \(stage tokenize\) is needed, and this is one of a text/,
    );
    writeDataset(folder, { meta, splits: { train: exampleSplit([]), validation: exampleSplit([]) } });
    expect(() => readTextDataset(folder)).toThrow(/a text \(stage tokenize-text\) is needed/);
    expect(() => readDataset(join(folder, 'none'))).toThrow(/there is no meta\.json/);
  });

  const vector = (...data: number[]): Tensor => ({ dtype: 'I32', shape: [data.length], data: Int32Array.from(data) });
  test.each([
    [
      'a token outside the vocabulary',
      { 'train.tokens': vector(1, 50) },
      /train\.tokens: token 50 at 1 is outside the vocabulary of 50/,
    ],
    ['offsets that end elsewhere', { 'train.offsets': vector(0, 3) }, /train\.offsets do not go from 0 to 2/],
    [
      'a prompt as long as its example',
      { 'train.prompt_lengths': vector(2) },
      /train example 0: a prompt of 2 tokens in an example of 2/,
    ],
    [
      'another type',
      { 'train.tokens': { dtype: 'U8', shape: [2], data: Uint8Array.of(1, 2) } as Tensor },
      /'train\.tokens' must be I32/,
    ],
  ])('%s is refused', (_, change, message) => {
    const one = exampleSplit([{ tokens: Int32Array.of(1, 2), promptLength: 1 }]);
    writeDataset(folder, { meta, splits: { train: one, validation: one } });
    const path = join(folder, 'tokens.safetensors');
    const file = openSafetensors(path);
    const tensors = new Map([...file.tensors.keys()].map((name) => [name, file.read(name)]));
    for (const [name, tensor] of Object.entries(change)) tensors.set(name, tensor);
    writeSafetensors(path, tensors);
    expect(() => readDataset(folder)).toThrow(message);
  });
});

describe('batches', () => {
  const examples: Example[] = [
    { tokens: Int32Array.of(1, 2, 3, 4), promptLength: 2 },
    { tokens: Int32Array.of(5, 6), promptLength: 1 },
    { tokens: Int32Array.of(7, 8, 9, 10, 11), promptLength: 3 },
  ];
  const split = exampleSplit(examples);

  test('targets are the next tokens of the response; the prompt and the padding carry none', () => {
    const [batch] = [...evaluationBatches(split, { batch: 3, length: 5 })] as [Batch];
    expect([...batch.tokens]).toEqual([1, 2, 3, 4, 0, 5, 6, 0, 0, 0, 7, 8, 9, 10, 11]);
    expect([...batch.targets]).toEqual([-1, 3, 4, -1, -1, 6, -1, -1, -1, -1, -1, -1, 10, 11, -1]);
  });

  test('the last token of an example needs no place; a longer example does not fit', () => {
    const [batch] = [...evaluationBatches(split, { batch: 3, length: 4 })] as [Batch];
    expect([...batch.tokens.slice(8)]).toEqual([7, 8, 9, 10]);
    expect([...batch.targets.slice(8)]).toEqual([-1, -1, 10, 11]);
    expect(() => [...evaluationBatches(split, { batch: 3, length: 3 })]).toThrow(
      /an example of 5 tokens does not fit rows of 3/,
    );
  });

  test('evaluation fills its last batch with rows without loss', () => {
    const all = [...evaluationBatches(split, { batch: 2, length: 5 })];
    expect(all).toHaveLength(2);
    expect([...all[1]!.targets.slice(5)]).toEqual([-1, -1, -1, -1, -1]);
  });

  test('an epoch holds each example once, epochs differ, and the seed decides', () => {
    const many = exampleSplit(Array.from({ length: 20 }, (_, i) => ({ tokens: Int32Array.of(i, 1), promptLength: 1 })));
    const firsts = (seed: number, count: number) =>
      take(batches(many, { batch: 4, length: 1, seed }), count).flatMap((b) => [...b.tokens]);
    const two = firsts(1, 10);
    for (const epoch of [two.slice(0, 20), two.slice(20)])
      expect([...epoch].sort((x, y) => x - y)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(two.slice(0, 20)).not.toEqual(two.slice(20));
    expect(firsts(1, 10)).toEqual(two);
    expect(firsts(2, 10)).not.toEqual(two);
    // An epoch that the batch does not divide runs on into the next.
    const odd = take(batches(split, { batch: 2, length: 5, seed: 1 }), 3).flatMap((b) => [b.tokens[0]!, b.tokens[5]!]);
    expect(odd.slice(0, 3).sort()).toEqual([1, 5, 7]);
    expect(odd.slice(3).sort()).toEqual([1, 5, 7]);
  });

  test("a text's windows do not overlap, and each target is the token after", () => {
    const text = { kind: 'text' as const, tokens: Int32Array.from({ length: 101 }, (_, i) => i) };
    const epoch = take(batches(text, { batch: 3, length: 8, seed: 5 }), 4);
    const seen = epoch.flatMap((b) => [...b.tokens]);
    for (const { tokens, targets } of epoch) expect([...targets]).toEqual([...tokens].map((token) => token + 1));
    // At least 11 windows of 8 fit wherever the first begins: the first epoch's tokens are all different.
    expect(new Set(seen.slice(0, 88)).size).toBe(88);
    expect(
      [...evaluationBatches(text, { batch: 4, length: 10 })].flatMap((b) => [
        ...b.tokens.filter((_, i) => b.targets[i] !== -1),
      ]),
    ).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(() => batches(text, { batch: 1, length: 101, seed: 1 }).next()).toThrow(/holds no window of 101/);
  });

  test('an empty split has no batches', () => {
    expect(() => batches(exampleSplit([]), { batch: 1, length: 1, seed: 1 }).next()).toThrow(/no examples/);
    expect([...evaluationBatches(exampleSplit([]), { batch: 1, length: 1 })]).toEqual([]);
  });
});

describe('random', () => {
  test('xoshiro128** as published: its first outputs from the state 1, 2, 3, 4', () => {
    const random = new Random(0);
    (random as unknown as { state: Uint32Array }).state.set([1, 2, 3, 4]);
    // By hand from the definition: rotl(s1 * 5, 7) * 9, then the state's update.
    expect([random.uint32(), random.uint32(), random.uint32()]).toEqual([11520, 0, 5927040]);
  });

  test('streams and seeds differ, equal ones agree', () => {
    const first = (seed: number, stream?: string) => new Random(seed, stream).uint32();
    const values = [first(1), first(2), first(-1), first(1, 'a'), first(1, 'b'), first(2, 'a')];
    expect(new Set(values).size).toBe(values.length);
    expect(first(1, 'a')).toBe(first(1, 'a'));
    expect(() => new Random(0.5)).toThrow(/a seed is an integer/);
  });

  test('the distributions have their means and spreads', () => {
    const random = new Random(11);
    const n = 40_000;
    const mean = (draw: () => number) => Array.from({ length: n }, draw).reduce((sum, x) => sum + x, 0) / n;
    // Five standard errors each.
    expect(Math.abs(mean(() => random.uniform()) - 0.5)).toBeLessThan((5 * Math.sqrt(1 / 12)) / Math.sqrt(n));
    expect(Math.abs(mean(() => random.normal()))).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(mean(() => random.normal() ** 2) - 1)).toBeLessThan((5 * Math.sqrt(2)) / Math.sqrt(n));
    const counts = new Array<number>(7).fill(0);
    for (let i = 0; i < n; i++) counts[random.integer(7)]!++;
    for (const count of counts) expect(Math.abs(count - n / 7)).toBeLessThan(5 * Math.sqrt(n / 7));
    expect(() => random.integer(0)).toThrow(RangeError);
  });

  test('a permutation holds each index once', () => {
    fc.assert(
      fc.property(fc.nat(200), fc.integer(), (count, seed) => {
        expect([...permutation(count, new Random(seed))].sort((x, y) => x - y)).toEqual(
          Array.from({ length: count }, (_, i) => i),
        );
      }),
    );
  });
});

describe('tokenizers', () => {
  let trained: Tokenizer;
  let gpt2: Tokenizer;
  const corpus = [...corpusDocuments(1, 200_000)].join('');

  beforeAll(async () => {
    gpt2 = await gpt2Tokenizer();
    trained = await tokenizerFromJson(JSON.parse(JSON.stringify(tokenizerJson(trainBpe(corpus, 1024)))), 'trained');
  });

  /** Whole characters (no lone halves of a pair), spaces and newlines among them. */
  const anyText = fc
    .array(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.constantFrom(' ', '\n', '\t', '  \n', "it's", '2,048', 'the apple', 'é😀'),
      ),
    )
    .map((parts) => parts.join(''));

  test('decode(encode(text)) is the text', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        fc.pre(!text.includes('<|endoftext|>'));
        expect(trained.decode(trained.encode(text))).toBe(text);
        expect(gpt2.decode(gpt2.encode(text))).toBe(text);
      }),
    );
  });

  test("GPT-2's encoding is the published one", () => {
    expect(gpt2.encode('Hello world')).toEqual([15496, 995]);
    expect([gpt2.vocabSize, gpt2.endOfText]).toEqual([50257, 50256]);
    // The name of the special token in a text is text.
    expect(gpt2.encode('<|endoftext|>')).not.toContain(50256);
    expect(gpt2.decode([15496, 50256, 995])).toBe('Hello world');
  });

  test('a trained encoding has the size asked for, uses every merge, and ends with the end of text', () => {
    expect([trained.vocabSize, trained.endOfText]).toEqual([1024, 1023]);
    expect(trained.decode([...trained.encode('an apple'), 1023])).toBe('an apple');
    const tokens = trained.encode(corpus.split('<|endoftext|>').join(''));
    expect(Math.max(...tokens.slice(0, 50_000))).toBeLessThan(1023);
    expect(corpus.length / tokens.length).toBeGreaterThan(3);
  });

  test('merges are those of the definition, counted naively', () => {
    // Words of one letter class, so that the split into words is the split at spaces.
    const text = 'abab abab abc bca aab bba cab';
    const words = [...text.matchAll(/ ?\w+/g)].map(([word]) => word.replace(' ', 'Ġ').split(''));
    const expected: string[] = [];
    for (let step = 0; step < 6; step++) {
      const counts = new Map<string, number>();
      for (const word of words)
        for (let i = 0; i + 1 < word.length; i++)
          counts.set(`${word[i]} ${word[i + 1]}`, (counts.get(`${word[i]} ${word[i + 1]}`) ?? 0) + 1);
      const most = Math.max(...counts.values());
      if (most < 2) break;
      const mine = trainBpe(text, 257 + step + 1)
        .merges.at(-1)!
        .join(' ');
      expect(counts.get(mine), `merge ${step}: ${mine}`).toBe(most);
      expected.push(mine);
      for (const word of words) {
        for (let i = 0; i + 1 < word.length; i++)
          if (`${word[i]} ${word[i + 1]}` === mine) word.splice(i, 2, word[i]! + word[i + 1]!);
      }
    }
    expect(trainBpe(text, 257 + expected.length).merges.map((pair) => pair.join(' '))).toEqual(expected);
  });

  test('training is deterministic, stops when no pair occurs twice, and refuses impossible sizes', () => {
    expect(trainBpe(corpus.slice(0, 20_000), 600)).toEqual(trainBpe(corpus.slice(0, 20_000), 600));
    expect(trainBpe('ab', 1000).merges).toEqual([]);
    expect(() => trainBpe('ab', 256)).toThrow(/a vocabulary of 256 tokens: 257 to 65535 are possible/);
  });

  test('a file that is no tokenizer is refused by name', async () => {
    const path = join(folder, 'tokenizer.json');
    await expect(readTokenizerFile(path)).rejects.toThrow(/tokenizer\.json: there is no such tokenizer file/);
    for (const [content, message] of [
      ['{"model', /the JSON is cut off/],
      ['3', /a JSON object is expected/],
      ['{}', /not a tokenizer that can be used/],
    ] as const) {
      writeFileSync(path, content);
      await expect(readTokenizerFile(path)).rejects.toThrow(message);
    }
    const json = tokenizerJson(trainBpe('ab ab', 260)) as {
      added_tokens: unknown[];
      model: { vocab: Record<string, number> };
    };
    delete json.model.vocab['<|endoftext|>'];
    writeFileSync(path, JSON.stringify({ ...json, added_tokens: [] }));
    await expect(readTokenizerFile(path)).rejects.toThrow(/has no <\|endoftext\|>/);
  });
});
