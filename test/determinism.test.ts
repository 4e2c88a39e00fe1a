/** Results of one key that differ: found by `verify --rerun`, reported when they are recorded, never replaced without a word. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { enterRun } from '../engine/presence.ts';
import { openWorkspace } from '../engine/workspace.ts';
import { folderWith, type TestFolder } from './support/pipe_command.ts';

/** Writes the same words each time, or a number drawn anew into the second of three lines. */
const stage = `import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Writes words.',
  params: { words: { type: 'string', description: 'the words' }, drawn: { type: 'boolean', default: false, description: 'whether to draw' } },
  inputs: { from: { description: 'what it begins with', optional: true } },
  outputs: {
    text: { description: 'the words', path: 'text.txt' },
    folder: { description: 'the words, and what it began with', path: 'folder' },
  },
  run({ params, inputs, outputs, measure }) {
    measure('seconds', performance.now());
    const before = inputs.from === undefined ? '' : readFileSync(inputs.from, 'utf8');
    mkdirSync(outputs.folder);
    writeFileSync(outputs.folder + '/before.txt', before);
    writeFileSync(outputs.folder + '/words.txt', params.words + '\\n' + (params.drawn ? Math.random() : 'fixed') + '\\nend\\n');
    writeFileSync(outputs.text, params.words);
  },
});
`;

const pipeline = `name: words
stages:
  fixed: { uses: words, with: { words: one } }
  drawn: { uses: words, in: { from: fixed.text }, with: { words: two, drawn: true } }
  clock: { run: 'date +%s%N > now.txt', shell: true, out: { now: now.txt } }
publish:
  drawn: drawn.folder
`;

function project(): TestFolder {
  return folderWith({ 'pipelines/words.yaml': pipeline, 'stages/words.ts': stage });
}

/** Names of everything in the store, and the text of each record. */
function storeOf(root: string): Record<string, string> {
  const list = (area: string) =>
    readdirSync(join(root, 'cache', area), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    ['ac', 'cas', 'runs'].flatMap((area) =>
      list(area).map(({ parentPath, name }) => [name, readFileSync(join(parentPath, name), 'latin1')]),
    ),
  );
}

test('verify --rerun says which artifact comes out otherwise, and where; the cache stays as it was', async () => {
  const folder = project();
  expect(await folder.pipe(['verify', '--rerun', 'words'])).toMatchObject({ code: 2 });
  expect((await folder.pipe(['run', 'words'])).code).toBe(0);
  const before = storeOf(folder.root);

  const all = await folder.pipe(['verify', '--rerun']);
  expect(all.err).toBe('');
  expect(all.code).toBe(1);
  expect(all.out).toMatch(/^fixed the same/m);
  expect(all.out).toMatch(
    /^drawn DIFFERENT .*\n {2}folder: [0-9a-f]{12} -> [0-9a-f]{12}\n {4}words\.txt: line 2: `0\.\d+` -> `0\.\d+`$/m,
  );
  expect(all.out).toMatch(/^clock DIFFERENT/m);
  expect(all.out).toMatch(/1 the same, 2 different, 0 failed$/m);
  expect(storeOf(folder.root)).toEqual(before);
  expect(readdirSync(join(folder.root, 'cache/tmp'))).toEqual([]);

  // One task alone: what it depends on is not executed.
  const one = await folder.pipe(['verify', '--rerun', 'fixed', '--json']);
  expect(one.code).toBe(0);
  expect(one.lines.map((line) => JSON.parse(line))).toMatchObject([{ task: 'fixed', outcome: 'same' }]);
  expect((await folder.pipe(['verify', '--rerun', 'nothing'])).code).toBe(2);
  expect((await folder.pipe(['status', '--check'])).code).toBe(0);
});

test('a second result under one key is reported by the run and by verify, and the record keeps both', async () => {
  const folder = project();
  await folder.pipe(['run', 'words']);
  const told = await folder.pipe(['run', 'words', 'drawn', '--force']);
  expect(told.code).toBe(0);
  expect(told.out).toMatch(/^drawn gave another result than in run \S+-words-\w+, with the same key: folder$/m);
  const forcedAgain = await folder.pipe(['run', 'words', 'drawn', '--force', '--json']);
  const { divergent } = JSON.parse((await folder.pipe(['verify', '--json'])).out);
  expect(divergent).toMatchObject([{ task: 'drawn', artifacts: ['folder'] }]);
  const { key } = divergent[0];
  const record = JSON.parse(readFileSync(join(folder.root, 'cache/ac', key.slice(0, 2), key), 'utf8'));
  const digests = [record, ...record.divergent].map(({ outputs }) => outputs.folder.digest);
  expect(new Set(digests).size).toBe(3);
  expect(forcedAgain.out).toContain('"type":"diverged"');
  expect((await folder.pipe(['verify'])).out).toMatch(/^drawn gave different results with one key: folder$/m);
  // A result that comes out as before leaves no trace of that kind.
  const same = await folder.pipe(['run', 'words', 'fixed', '--force']);
  expect(same.out).not.toContain('another result');
});

test('gc waits for no run and no run reads the catalog under gc', async () => {
  const folder = project();
  await folder.pipe(['run', 'words']);
  const workspace = openWorkspace(folder.root);
  try {
    const leave = await enterRun(workspace.claims, 'a-run');
    expect(await folder.pipe(['gc', '--keep-runs', '1'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('run a-run is under way'),
    });
    leave();

    expect(workspace.claims.take('gc', 'gc')).toBe('taken');
    let isOver = false;
    const run = folder.pipe(['run', 'words']).then((end) => {
      isOver = true;
      return end;
    });
    // The run shows itself, and then looks whether it may go on.
    await expect.poll(() => workspace.claims.held()).toContainEqual(expect.stringMatching(/^run\./));
    expect(isOver).toBe(false);
    workspace.claims.release('gc');
    workspace.claims.close();
    expect(await run).toMatchObject({ code: 0, out: expect.stringContaining('up to date') });
    expect(workspace.claims.held()).toEqual([]);
  } finally {
    await workspace.close();
  }
});
