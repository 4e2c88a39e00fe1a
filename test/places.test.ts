/** Private folders: every task finds its own empty, whatever the one before did to its folder, and none is left after the run. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { folderWith } from './support/pipe_command.ts';

/** What a task does to its folder once it has written its output. */
const habits: Readonly<Record<string, string>> = {
  nothing: 'true',
  file: 'touch extra.txt',
  folder: 'mkdir -p deep/er && touch deep/er/file',
  scratch: 'mktemp',
  mode: 'chmod 500 .',
  'scratch-mode': 'chmod 500 "$TMPDIR"',
  'scratch-gone': 'rmdir "$TMPDIR"',
  'scratch-link': 'rmdir "$TMPDIR" && ln -s / "$TMPDIR"',
  input: 'ln -s / "$(dirname "$PIPE_IN_text")/other"',
};

/** Tells where it is, what is there, in what modes, before it does as it is told. */
const look = (habit: string) =>
  `(pwd; cd ..; find . ! -name list.txt -printf '%p %M\\n' | sort; ls) > "$PIPE_OUT_list"; ${habit}`;

test.each([1, 2])('a task finds its folder as it was made, at %d jobs', async (jobs) => {
  const stages = Object.entries(habits).map(
    ([name, habit]) => `  ${name}:
    run: ${JSON.stringify(look(habit))}
    shell: true
    matrix: { n: [1, 2, 3] }
    env: { N: "\${{ matrix.n }}" }
    in: { text: first.text }
    out: { list: list.txt }
`,
  );
  const published = Object.keys(habits).map((name) => `  "${name}-\${{ matrix.n }}.txt": ${name}.list\n`);
  const folder = folderWith({
    'pipelines/habits.yaml': `name: habits
stages:
  first:
    run: echo text > {{out:text}}
    shell: true
    out: { text: text.txt }
${stages.join('')}publish:
${published.join('')}`,
  });
  const { code, err } = await folder.pipe(['run', '-j', String(jobs)]);
  expect(code, err).toBe(0);
  const looks = Object.keys(habits).flatMap((name) =>
    [1, 2, 3].map((n) => readFileSync(join(folder.root, 'results', 'habits', `${name}-${n}.txt`), 'utf8').split('\n')),
  );
  const places = looks.map(([place]) => place);
  expect(new Set(places).size).toBe(looks.length);
  const [[, ...first]] = looks as [string[]];
  expect(first.join('\n')).toMatch(
    /^\. drwx\S+\n\.\/in-text drwx\S+\n\.\/in-text\/text\.txt -r\S+\n\.\/out drwx\S+\n\.\/scratch drwx/,
  );
  for (const [, ...found] of looks) expect(found).toEqual(first);
  const work = join(folder.root, 'cache', 'work');
  expect(existsSync(work) ? readdirSync(work) : []).toEqual([]);
});

test('what a stage writes too late, by the path that it was given, reaches no other task', async () => {
  const folder = folderWith({
    'stages/late.ts': `import { existsSync, writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Writes once more when it is over, for some time.',
  params: { n: { type: 'number', description: 'what is written' } },
  inputs: {},
  outputs: { text: { description: 'a number', path: 'text.txt' } },
  run({ params, outputs }) {
    writeFileSync(outputs.text, String(params.n));
    // From when the output was taken.
    const again = setInterval(() => {
      if (existsSync(outputs.text)) return;
      try {
        writeFileSync(outputs.text, 'late');
      } catch {}
    }, 0);
    setTimeout(() => clearInterval(again), 100).unref();
    again.unref();
  },
});
`,
    'pipelines/late.yaml': `name: late
stages:
  late:
    uses: late
    matrix: { n: [${Array.from({ length: 40 }, (_, n) => n).join(', ')}] }
    with: { n: "\${{ matrix.n }}" }
publish: { "\${{ matrix.n }}.txt": late.text }
`,
  });
  const { code, out, err } = await folder.pipe(['run', '-j', '1']);
  expect(code, out + err).toBe(0);
  for (let n = 0; n < 40; n++) {
    expect(readFileSync(join(folder.root, 'results', 'late', `${n}.txt`), 'utf8')).toBe(String(n));
  }
});
