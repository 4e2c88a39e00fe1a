/** Bad input to the real stages, through the command: what is wrong and where, nothing lost, and a mended run goes on. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type CommandProject, leftovers, openProjectFolder } from './support/checkout.ts';
import { smallStudy } from './support/small_study.ts';

const files = smallStudy();
const recordsFile = 'data/records.json';
const weightsFile = 'models/toy/model.safetensors';
const records = files[recordsFile] as string;
const weights = files[weightsFile] as Uint8Array;

/** The weights with other bytes at one tensor's entry in the header, which keeps its length, or in its data. */
function alteredWeights(alter: (header: string, data: Buffer) => string): Buffer {
  const bytes = Buffer.from(weights);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = bytes.toString('utf8', 8, 8 + headerBytes);
  const altered = alter(header, bytes.subarray(8 + headerBytes));
  expect(altered).toHaveLength(header.length);
  bytes.write(altered, 8);
  return bytes;
}

/** Where the data of a tensor begins. */
const beginOf = (header: string, name: string) =>
  (JSON.parse(header) as Record<string, { data_offsets: [number, number] }>)[name]!.data_offsets[0];

let project: CommandProject;
beforeAll(async () => {
  project = openProjectFolder(files);
  const { code, stdout } = await project.run(['small', 'tokens', 'quantize']);
  expect(code, stdout).toBe(0);
});
afterAll(() => project.remove());
afterEach(async () => {
  // Whatever the test broke is mended, and everything from before is still there.
  for (const [path, content] of Object.entries(files)) project.write(path, content);
  const { executed, code } = await project.run(['small', 'tokens', 'quantize']);
  expect({ executed, code }).toEqual({ executed: [], code: 0 });
  expect(leftovers(project.root)).toEqual([]);
});

/** Runs and expects that this task failed, with these words in what is printed. */
async function expectFailure(args: readonly string[], task: string, words: readonly (string | RegExp)[]) {
  const { stdout, stderr, code } = await project.pipe(['run', ...args, '-k']);
  expect(stderr).toBe('');
  const said = stdout.replaceAll(/\s+/g, ' ');
  expect(said).toContain(`task ${task} failed: `);
  for (const word of words) expect(said).toMatch(word);
  // A user's mistake is told without a stack, and without folders that are gone.
  expect(stdout).not.toContain('cache/');
  expect(stdout).not.toMatch(/^\s+at /m);
  expect(code).toBe(1);
  return stdout;
}

const tokens = ['small', 'tokens'];
const quantize = ['small', 'quantize'];

test.each<[string, string | Uint8Array, (string | RegExp)[]]>([
  [
    'truncated JSON',
    records.slice(0, records.length / 2),
    ['data (data.file): the JSON is cut off', /line \d+, column \d+ \(byte \d+\)/],
  ],
  ['an empty file', '', ['data (data.file): there are no records in it']],
  ['an empty list', '[]', ['there are no records in it']],
  [
    'one record, too few to hold any out',
    '[{"instruction": "a", "output": "b"}]',
    [/data \(data\.file\): 1 of 1 records .* too few/],
  ],
  [
    'text that is not UTF-8',
    Buffer.concat([Buffer.from('[{"instruction": "caf'), Buffer.of(0xe9), Buffer.from('", "output": "b"}]')]),
    ['data (data.file): not UTF-8 text: byte 21 (line 1) is 0xe9'],
  ],
  ['a record without an answer', '[{"instruction": "a"}]', ["record 1 lacks the field 'output'"]],
  [
    'records whose prompts alone are longer than max_length',
    JSON.stringify(Array.from({ length: 9 }, () => ({ instruction: 'word '.repeat(300), output: 'b' }))),
    ['0 of 9 records are left', 'max_length 96'],
  ],
])('records: %s', async (_, content, words) => {
  project.write(recordsFile, content);
  await expectFailure(tokens, 'tokens', words);
});

test('records are longer than the context that the model has: said before anything is trained', async () => {
  await expectFailure([...tokens, '--set', 'tokens.max_length=129'], 'tokens', [
    'max_length is 129',
    'context holds 128 tokens',
  ]);
});

test("a tokenizer that is not the model's", async () => {
  project.edit('models/toy/config.json', '"vocab_size": 2048', '"vocab_size": 2000');
  await expectFailure(tokens, 'tokens', ['model (base.file): ', 'vocab_size is 2000', '2048 tokens']);
});

test("records tokenized for another vocabulary than the model's", async () => {
  project.write(
    'pipelines/mismatch.yaml',
    `name: mismatch
include: small.yaml
stages:
  foreign: { uses: tokenize, in: { data: data.file } }
  tune:
    uses: train
    in: { base: { from: quantize.model, where: { precision: nf4 } }, data: foreign.dataset }
`,
  );
  await expectFailure(['mismatch', 'tune'], 'tune', ['vocabulary of 50257', 'the model has 2048']);
});

test.each<[string, () => Uint8Array, (string | RegExp)[]]>([
  [
    'cut off',
    () => weights.subarray(0, weights.length - 1000),
    ['base (base.file)/model.safetensors: ', /h\.|wte|wpe|ln_f/],
  ],
  [
    'no safetensors file',
    () => Buffer.from('<html>not found</html>'),
    ['base (base.file)/model.safetensors: ', 'not a safetensors file'],
  ],
  [
    'offsets that lie',
    () =>
      alteredWeights((header) => {
        const begin = beginOf(header, 'transformer.ln_f.weight');
        return header.replace(`[${begin},`, `[${String(begin).replace(/.$/, (digit) => (digit === '0' ? '2' : '0'))},`);
      }),
    ['base (base.file)/model.safetensors: ', /tensor '/, /byte/],
  ],
  [
    'a shape that lies',
    () => alteredWeights((header) => header.replace('"shape":[64]', '"shape":[46]')),
    ['base (base.file)/model.safetensors: ', /tensor '/],
  ],
  [
    'a weight that is not a number',
    () =>
      alteredWeights((header, data) => {
        data.writeUInt16LE(0x7fc0, beginOf(header, 'transformer.h.1.mlp.c_fc.weight') + 2 * 300);
        return header;
      }),
    ['h.1.mlp.c_fc.weight', 'NaN'],
  ],
])('weights: %s', async (_, content, words) => {
  project.write(weightsFile, content());
  await expectFailure(quantize, 'quantize[precision=nf4]', words);
});

test('a missing file is named, and only what needs it is not run', async () => {
  project.edit('pipelines/small.yaml', 'from: data/records.json', 'from: data/recods.json');
  const { stdout, code } = await project.pipe(['run', 'small', 'tokens', 'quantize', '-k']);
  expect(code).toBe(1);
  expect(stdout).toMatch(/data\/recods\.json does not exist/);
});

test('mended, the run goes on where it stopped', async () => {
  const fresh = openProjectFolder({ ...files, [recordsFile]: records.slice(0, -20) });
  try {
    const first = await fresh.run(['small', '-k']);
    expect(first.code).toBe(1);
    expect(first.stages).toEqual(['base', 'data', 'quantize', 'quantize-family']);
    fresh.write(recordsFile, records);
    const second = await fresh.run(['small', 'evaluate-base']);
    expect({ executed: second.executed, code: second.code }).toEqual({
      executed: ['data', 'evaluate-base', 'tokens'],
      code: 0,
    });
  } finally {
    fresh.remove();
  }
});

/** Writes until not one byte more fits. */
function fillDisk(folder: string): void {
  for (let bytes = 1 << 20; bytes >= 1; ) {
    try {
      appendFileSync(join(folder, 'filler'), Buffer.alloc(bytes));
    } catch {
      bytes >>= 1;
    }
  }
}

test('a full disk: said so, nothing half-made, and with room again the run goes on', async (context) => {
  const full = openProjectFolder({
    'data/small.bin': new Uint8Array(1000),
    'data/large.bin': Buffer.alloc(6 << 20, 'x'),
    'pipelines/fill.yaml': `name: fill
stages:
  small: { uses: download, with: { from: data/small.bin } }
  large: { uses: download, needs: [small], with: { from: data/large.bin } }
publish: { large.bin: large.file }
`,
  });
  const cache = join(full.root, 'cache');
  mkdirSync(cache);
  const mount = (...options: string[]) =>
    execFileSync('mount', ['-t', 'tmpfs', ...options, 'tmpfs', cache], { stdio: 'ignore' });
  try {
    mount('-o', 'size=4m');
  } catch (thrown) {
    full.remove();
    context.skip(`a small disk cannot be mounted here: ${(thrown as Error).message}`);
  }
  try {
    const first = await full.pipe(['run', 'fill']);
    expect(first.code).toBe(1);
    expect(first.stdout).toMatch(/task large failed: .*ENOSPC/);
    expect(leftovers(full.root)).toEqual([]);
    expect(existsSync(join(full.root, 'results'))).toBe(false);
    expect((await full.pipe(['verify'])).code).toBe(0);
    fillDisk(cache);
    const refused = await full.pipe(['run', 'fill']);
    expect(refused.stdout).toBe('');
    expect(refused.stderr).toMatch(/^the disk takes no more: ENOSPC.*\n.* run again\n$/);
    expect(refused.code).toBe(1);
    rmSync(join(cache, 'filler'));
    mount('-o', 'remount,size=32m');
    const second = await full.run(['fill']);
    expect({ executed: second.executed, code: second.code }).toEqual({ executed: ['large'], code: 0 });
    expect(readFileSync(join(full.root, 'results/fill/large.bin'))).toHaveLength(6 << 20);
  } finally {
    execFileSync('umount', ['--lazy', cache]);
    full.remove();
  }
});
