/** The pages on algorithms and data are true to the code: every line names a function that exists, every count is the code's own. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { factTasks } from '../stages/world/fact-tasks.ts';
import { instructionRecords } from '../stages/world/generate.ts';
import { languageTasks } from '../stages/world/language-tasks.ts';
import { listTasks } from '../stages/world/list-tasks.ts';
import { numberTasks } from '../stages/world/number-tasks.ts';
import { documentation, repository } from './support/documents.ts';

const page = 'docs/algorithm13_extension.md';
const text = proseOf(page);

function proseOf(path: string): string {
  return documentation().find((one) => one.path === path)!.prose;
}

/** Links whose text is a name in code: what is named, and the file that is to declare it. */
const links = [...text.matchAll(/\[`(\w+)`\]\((\.\.\/[^)#]+)\)/g)].map(([, name, target]) => ({
  name: name!,
  file: join(dirname(page), target!),
}));

function declares(file: string, name: string): boolean {
  const source = readFileSync(join(repository, file), 'utf8');
  return new RegExp(`^(?:export )?(?:(?:async )?function\\*?|const|interface|type) ${name}\\b`, 'm').test(source);
}

describe('the algorithms', () => {
  test.each([...new Map(links.map((link) => [`${link.name} ${link.file}`, link])).values()])(
    '$name stands in $file',
    ({ name, file }) => expect(declares(file, name)).toBe(true),
  );

  test('a name that a file does not declare is noticed', () => {
    expect(declares('model/nf4.ts', 'quantize')).toBe(true);
    expect(declares('model/nf4.ts', 'quant')).toBe(false);
  });

  test('every line but the ends of loops names what does it', () => {
    const lines = text.split('\n').filter((line) => /^\| \d+ \|/.test(line));
    expect(lines.length).toBeGreaterThan(60);
    for (const line of lines.filter((one) => !/\| (&emsp; )?end \| \|$/.test(one))) expect(line).toMatch(/\[`\w+`\]\(/);
  });

  test('lines are numbered from 1 without a gap', () => {
    for (const table of text.split(/\n\n/).filter((part) => /^\| \| /.test(part))) {
      const numbers = [...table.matchAll(/^\| (\d+) \|/gm)].map(([, number]) => Number(number));
      expect(numbers).toEqual(numbers.map((_, i) => i + 1));
    }
  });
});

test('the page of references has every work that the code names, and names files that exist', () => {
  const references = proseOf('docs/references.md');
  const sources = execFileSync('git', ['ls-files', '--', 'model', 'compile', 'stages', 'native'], {
    cwd: repository,
    encoding: 'utf8',
  })
    .split('\n')
    .filter((path) => /\.(ts|cc|cu|h)$/.test(path));
  // `(Hu et al. 2021, section 4.1)`: the first author and a year in one pair of brackets.
  const authors = sources.flatMap((path) =>
    [
      ...readFileSync(join(repository, path), 'utf8').matchAll(/[(:] ?(\p{Lu}\p{Ll}+)[^()\d]{0,40} (?:19|20)\d\d\b/gu),
    ].map(([, author]) => author!),
  );
  expect(authors.length).toBeGreaterThan(20);
  expect([...new Set(authors)].filter((author) => !references.includes(author))).toEqual([]);
  const files = [...references.matchAll(/`((?:model|compile|stages|native)\/[\w/.]+)`/g)].map(([, path]) => path!);
  expect(files.filter((path) => !existsSync(join(repository, path)))).toEqual([]);
});

test('the data card counts what the generator makes', () => {
  const card = proseOf('docs/data_card.md');
  const kinds = new Set([...factTasks, ...listTasks, ...numberTasks, ...languageTasks]).size;
  expect(card).toContain(`${kinds} kinds of task`);
  const withInput = instructionRecords(11, 3000).filter(({ input }) => input !== '').length;
  expect(card.replaceAll(/\s+/g, ' ')).toContain(
    `Seed 11 with 3,000 records, as the pipeline draws them, has ${withInput.toLocaleString('en-US')} with an input`,
  );
});
