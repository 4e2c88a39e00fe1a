/** What a command that finds nothing to do loads: what it does not need would take longer than all else that it does. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openProjectFolder } from './support/checkout.ts';

const stage = `import { writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Writes a word.', params: {}, inputs: {}, outputs: { word: { description: 'a word', path: 'word' } },
  run: ({ outputs }) => writeFileSync(outputs.word, 'word'),
});
`;

test('where nothing is to be done, neither run nor status loads a package', async () => {
  const project = openProjectFolder({
    'stages/word.ts': stage,
    'pipelines/p.yaml':
      'stages: { word: { uses: word }, copy: { run: [cp, "${{ in.a }}", "${{ out.b }}"], in: { a: word.word }, out: { b: b } } }\n',
  });
  const folder = mkdtempSync(join(project.root, 'coverage-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
    project.remove();
  });
  expect((await project.pipe(['run'])).code).toBe(0);
  expect((await project.pipe(['run'])).stdout).toContain('up to date');
  for (const words of [['run'], ['status', '--check']]) {
    // Node writes down every script that was loaded.
    expect((await project.pipe(words, { NODE_V8_COVERAGE: folder })).code).toBe(0);
    const scripts = readdirSync(folder).flatMap((name) => {
      const { result } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as { result: { url: string }[] };
      rmSync(join(folder, name));
      return result.map(({ url }) => url);
    });
    expect(scripts).toContainEqual(expect.stringMatching(/\/dist\/pipe\.mjs$/));
    expect(scripts.filter((url) => url.includes('/node_modules/'))).toEqual([]);
  }
});
