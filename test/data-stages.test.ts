/** The data stages from end to end: generated text and instructions, the tokenizer, and tokenized data sets. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { alpacaPrompt } from '../model/alpaca.ts';
import { formatConfig } from '../model/config.ts';
import { readDataset, readTextDataset } from '../model/dataset.ts';
import { writeJson } from '../model/json.ts';
import { gpt2Tokenizer, readTokenizer, type Tokenizer } from '../model/tokenizer.ts';
import bpe from '../stages/bpe.ts';
import corpus from '../stages/corpus.ts';
import instructions from '../stages/instructions.ts';
import tokenize from '../stages/tokenize.ts';
import tokenizeText from '../stages/tokenize-text.ts';
import { openWorkshop, type StageRun, type Workshop } from './support/stages.ts';

let shop: Workshop;
let text: StageRun;
let trained: StageRun;
let records: StageRun;
let tokenizer: Tokenizer;

beforeAll(async () => {
  shop = openWorkshop();
  text = await shop.run(corpus, { params: { megabytes: 1 } });
  trained = await shop.run(bpe, { inputs: { text: text.outputs.text! } });
  records = await shop.run(instructions, { params: { count: 1500 } });
  tokenizer = await readTokenizer(trained.outputs.tokenizer!);
});
afterAll(() => shop.remove());

/** A checkpoint folder without weights: sizes and, if given, a tokenizer. */
function modelFolder(vocabSize: number, contextLength: number, tokenizerFolder?: string): string {
  const folder = join(shop.folder, `model-${vocabSize}-${contextLength}-${tokenizerFolder !== undefined}`);
  mkdirSync(folder, { recursive: true });
  const config = { vocabSize, contextLength, width: 8, layers: 1, heads: 1, epsilon: 1e-5 };
  writeJson(join(folder, 'config.json'), formatConfig(config, 'float32'));
  if (tokenizerFolder !== undefined) {
    writeFileSync(join(folder, 'tokenizer.json'), readFileSync(join(tokenizerFolder, 'tokenizer.json')));
  }
  return folder;
}

function dataFile(name: string, content: string | Uint8Array): string {
  const path = join(shop.folder, name);
  writeFileSync(path, content);
  return path;
}

describe('generated data', () => {
  test('the same seed gives the same bytes, another seed others', async () => {
    const again = await shop.run(corpus, { params: { megabytes: 1 } });
    const other = await shop.run(corpus, { params: { megabytes: 1, seed: 2 } });
    const first = readFileSync(text.outputs.text!);
    expect(readFileSync(again.outputs.text!).equals(first)).toBe(true);
    expect(readFileSync(other.outputs.text!).equals(first)).toBe(false);
    expect(Math.abs(first.length - 1e6)).toBeLessThan(1000);

    const same = await shop.run(instructions, { params: { count: 1500 } });
    expect(readFileSync(same.outputs.file!).equals(readFileSync(records.outputs.file!))).toBe(true);
  });

  test('records and answers are short in the tokens of the corpus', async () => {
    const all = JSON.parse(readFileSync(records.outputs.file!, 'utf8')) as {
      instruction: string;
      input: string;
      output: string;
    }[];
    for (const record of all) {
      const answer = tokenizer.encode(record.output).length;
      expect(answer).toBeGreaterThan(0);
      expect(answer).toBeLessThanOrEqual(24);
      expect(tokenizer.encode(alpacaPrompt(record)).length + answer + 1).toBeLessThanOrEqual(128);
    }
  });
});

describe('tokenize', () => {
  test('examples decode to the prompt and the answer, end of text last, and every record is in one split', async () => {
    const model = modelFolder(tokenizer.vocabSize, 128, trained.outputs.tokenizer!);
    const run = await shop.run(tokenize, {
      params: { max_length: 128 },
      inputs: { data: records.outputs.file!, model },
    });
    const { meta, splits } = readDataset(run.outputs.dataset!);
    expect(meta).toMatchObject({ vocabSize: tokenizer.vocabSize, dropped: 0, truncated: 0, maxLength: 128 });
    expect([splits.train.count, splits.validation.count]).toEqual([1350, 150]);

    const expected = new Set(
      (
        JSON.parse(readFileSync(records.outputs.file!, 'utf8')) as {
          instruction: string;
          input: string;
          output: string;
        }[]
      ).map((record) => `${alpacaPrompt(record)}|${record.output}`),
    );
    for (const split of [splits.train, splits.validation]) {
      for (let i = 0; i < split.count; i++) {
        const { tokens, promptLength } = split.example(i);
        expect(tokens.at(-1)).toBe(tokenizer.endOfText);
        const decoded = `${tokenizer.decode(tokens.subarray(0, promptLength))}|${tokenizer.decode(tokens.subarray(promptLength))}`;
        expect(expected.delete(decoded)).toBe(true);
      }
    }
    expect(expected.size).toBe(0);
  });

  test('records longer than max_length are cut and counted, and dropped when no response token is left', async () => {
    const gpt2 = await gpt2Tokenizer();
    const base = gpt2.encode(alpacaPrompt({ instruction: 'Go.', input: '' })).length;
    const data = dataFile(
      'long.json',
      JSON.stringify([
        { instruction: 'Go.', input: '', output: 'Yes.' },
        { instruction: 'Go.', input: '', output: ' a'.repeat(50) },
        { instruction: `Go.${' on'.repeat(80)}`, input: '', output: 'Yes.' },
        { instruction: 'Go.', output: '' },
        { instruction: 'Go.', input: ' ', output: 'No.' },
      ]),
    );
    const run = await shop.run(tokenize, { params: { max_length: base + 3, validation: 0.4 }, inputs: { data } });
    const { meta, splits } = readDataset(run.outputs.dataset!);
    expect(meta).toMatchObject({ truncated: 1, dropped: 2, maxLength: base + 3 });
    const lengths = [splits.train, splits.validation].flatMap((s) =>
      Array.from({ length: s.count }, (_, i) => s.example(i).tokens.length),
    );
    expect(lengths.sort()).toEqual([base + 3, base + 3, base + 3]);
  });

  test('limit draws by the seed', async () => {
    const data = records.outputs.file!;
    const read = async (seed: number) => {
      const run = await shop.run(tokenize, { params: { limit: 50, seed }, inputs: { data } });
      return readFileSync(join(run.outputs.dataset!, 'tokens.safetensors'));
    };
    const [a, b, c] = [await read(1), await read(1), await read(2)];
    expect(a.equals(b)).toBe(true);
    expect(a.equals(c)).toBe(false);
  });

  test('JSON lines give the same examples as a JSON list', async () => {
    const list = JSON.parse(readFileSync(records.outputs.file!, 'utf8')).slice(0, 20) as object[];
    const a = await shop.run(tokenize, { inputs: { data: dataFile('a.json', JSON.stringify(list)) } });
    const lines = list.map((record) => JSON.stringify(record)).join('\n');
    const b = await shop.run(tokenize, { inputs: { data: dataFile('a.jsonl', `${lines}\n`) } });
    const bytes = (run: StageRun) => readFileSync(join(run.outputs.dataset!, 'tokens.safetensors'));
    expect(bytes(a).equals(bytes(b))).toBe(true);
  });

  test.each([
    [
      'cut.json',
      '[{"instruction": "a", "input": "", "output": "b"},\n{"instr',
      /cut\.json: the JSON is cut off at line 2, column 8 \(byte 58\)/,
    ],
    ['wrong.json', '[{"instruction": "a",\n "output": yes}]', /wrong\.json: not valid JSON at line 2, column 12/],
    ['empty.json', '[]', /empty\.json: there are no records/],
    ['nothing.json', '', /nothing\.json: there are no records/],
    [
      'latin1.json',
      Buffer.from('[{"instruction":\n"caf\xe9"}]', 'latin1'),
      /latin1\.json: not UTF-8 text: byte 21 \(line 2\) is 0xe9/,
    ],
    [
      'fields.json',
      '[{"instruction":"a","output":"b"},{"question":"a","answer":"b"}]',
      /record 2 lacks the field 'instruction' \(it has: question, answer\)/,
    ],
    ['type.json', '[{"instruction":"a","output":3}]', /record 1 has a 'output' that is not a string/],
    ['list.json', '[["a","b"]]', /record 1 is not an object/],
    [
      'cut.jsonl',
      '{"instruction":"a","output":"b"}\n{"instruction":"a","ou',
      /cut\.jsonl: line 2: the JSON is cut off/,
    ],
    ['one.json', '[{"instruction":"a","output":"b"}]', /1 of 1 records are left .* too few/],
  ])('%s is refused as the user can read it', async (name, content, message) => {
    const data = dataFile(name, content);
    await expect(shop.run(tokenize, { inputs: { data } })).rejects.toThrow(message);
    await expect(shop.run(tokenize, { inputs: { data } })).rejects.toMatchObject({ name: 'StageError' });
  });

  test("a vocabulary that is not the model's, and a max_length beyond its context, are refused", async () => {
    const data = records.outputs.file!;
    const other = modelFolder(300, 128, trained.outputs.tokenizer!);
    await expect(shop.run(tokenize, { params: { max_length: 128 }, inputs: { data, model: other } })).rejects.toThrow(
      /vocab_size is 300, but its tokenizer\.json has \d+ tokens/,
    );
    const bare = modelFolder(300, 128);
    await expect(shop.run(tokenize, { params: { max_length: 128 }, inputs: { data, model: bare } })).rejects.toThrow(
      /has 50257 tokens/,
    );
    const small = modelFolder(50257, 64);
    await expect(shop.run(tokenize, { params: { max_length: 128 }, inputs: { data, model: small } })).rejects.toThrow(
      /max_length is 128, but the model's context holds 64/,
    );
  });

  const alpaca = join(import.meta.dirname, '../../shared/data/alpaca-random-9229.json');
  test.skipIf(!existsSync(alpaca))(
    `real Alpaca records (skipped where ${'../shared/data/alpaca-random-9229.json'} is absent)`,
    async () => {
      const run = await shop.run(tokenize, { inputs: { data: alpaca } });
      const { meta, splits } = readDataset(run.outputs.dataset!);
      expect(meta.dropped).toBeGreaterThanOrEqual(4);
      expect(splits.train.count + splits.validation.count + meta.dropped).toBe(9229);
      const { tokens, promptLength } = splits.train.example(0);
      expect((await gpt2Tokenizer()).decode(tokens.subarray(0, promptLength))).toMatch(
        /^Below is an instruction[\s\S]*### Response:\n$/,
      );
    },
  );
});

describe('tokenize-text', () => {
  test('the streams decode to the text, with an end of text after each document', async () => {
    const run = await shop.run(tokenizeText, {
      inputs: { text: text.outputs.text!, tokenizer: trained.outputs.tokenizer! },
    });
    const { meta, splits } = readTextDataset(run.outputs.dataset!);
    expect(meta.vocabSize).toBe(tokenizer.vocabSize);
    const tokens = [...splits.train.tokens, ...splits.validation.tokens];
    const documents: string[] = [];
    for (let start = 0; start < tokens.length; ) {
      const end = tokens.indexOf(tokenizer.endOfText, start);
      documents.push(tokenizer.decode(tokens.slice(start, end)));
      start = end + 1;
    }
    expect(`${documents.join('\n<|endoftext|>\n')}\n<|endoftext|>\n`).toBe(readFileSync(text.outputs.text!, 'utf8'));
    expect(splits.validation.tokens.length / tokens.length).toBeCloseTo(0.05, 3);
  });

  test('line by line encoding gives the tokens of the whole document', async () => {
    const document = 'One  line.\n\n  Two \n \nthree,\tfour\n\n\nFive \n';
    const data = dataFile('lines.txt', document);
    const run = await shop.run(tokenizeText, { params: { validation: 0.2 }, inputs: { text: data } });
    const { splits } = readTextDataset(run.outputs.dataset!);
    const gpt2 = await gpt2Tokenizer();
    expect([...splits.train.tokens, ...splits.validation.tokens]).toEqual([
      ...gpt2.encode(document.slice(0, -1)),
      gpt2.endOfText,
    ]);
  });

  test('text that is not UTF-8 is refused with the byte', async () => {
    const data = dataFile('bad.txt', Uint8Array.from([65, 10, 66, 0xc3, 0x28]));
    await expect(shop.run(tokenizeText, { inputs: { text: data } })).rejects.toThrow(/byte 3 \(line 2\) is 0xc3/);
    await expect(shop.run(bpe, { inputs: { text: data } })).rejects.toMatchObject({ name: 'StageError' });
  });
});
