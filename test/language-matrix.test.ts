/** The matrix: GitHub's own example, and agreement with a naive reading of its rules. */
import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import { type Combination, expandMatrix, type Matrix, taskId } from '../engine/matrix.ts';
import type { Json } from '../engine/stage.ts';

function matrix(axes: Record<string, Json[]>, include: Combination[] = [], exclude: Combination[] = []): Matrix {
  return { axes: new Map(Object.entries(axes)), include, exclude };
}

it('varies the last axis fastest', () => {
  const ids = expandMatrix(matrix({ rank: [2, 4], seed: [1, 2] })).map((axes) => taskId('train', axes));
  expect(ids).toEqual(['train[rank=2,seed=1]', 'train[rank=2,seed=2]', 'train[rank=4,seed=1]', 'train[rank=4,seed=2]']);
});

it('is one combination when it says nothing, and only its includes when it has no axes', () => {
  expect(expandMatrix(matrix({}))).toEqual([{}]);
  expect(expandMatrix(matrix({}, [{ a: 1 }, { a: 1, b: 2 }]))).toEqual([{ a: 1 }, { a: 1, b: 2 }]);
});

it('includes as the documentation of GitHub Actions shows', () => {
  const include = [
    { color: 'green' },
    { color: 'pink', animal: 'cat' },
    { fruit: 'apple', shape: 'circle' },
    { fruit: 'banana' },
    { fruit: 'banana', animal: 'cat' },
  ];
  expect(expandMatrix(matrix({ fruit: ['apple', 'pear'], animal: ['cat', 'dog'] }, include))).toEqual([
    { fruit: 'apple', animal: 'cat', color: 'pink', shape: 'circle' },
    { fruit: 'apple', animal: 'dog', color: 'green', shape: 'circle' },
    { fruit: 'pear', animal: 'cat', color: 'pink' },
    { fruit: 'pear', animal: 'dog', color: 'green' },
    { fruit: 'banana' },
    { fruit: 'banana', animal: 'cat' },
  ]);
});

it('excludes every combination that agrees with an entry on all of its keys, before it includes', () => {
  const found = expandMatrix(
    matrix({ os: ['a', 'b'], v: [1, 2] }, [{ os: 'b', v: 1 }], [{ os: 'b' }, { v: 2, os: 'a' }]),
  );
  expect(found).toEqual([
    { os: 'a', v: 1 },
    { os: 'b', v: 1 },
  ]);
});

it('compares lists and maps by content', () => {
  const found = expandMatrix(
    matrix({ targets: [['q', 'v'], { name: 'all', k: [1] }] }, [], [{ targets: { k: [1], name: 'all' } }]),
  );
  expect(found).toEqual([{ targets: ['q', 'v'] }]);
});

/** The rules written down a second time, by counting and by text, without sharing anything with the expansion. */
function oracle({ axes, include, exclude }: Matrix): string[] {
  const names = [...axes.keys()];
  const same = (a: Json | undefined, b: Json | undefined) => JSON.stringify(a) === JSON.stringify(b);
  const total = names.reduce((size, name) => size * axes.get(name)!.length, names.length === 0 ? 0 : 1);
  const originals: Record<string, Json>[] = [];
  for (let number = 0; number < total; number++) {
    const combination: Record<string, Json> = {};
    let rest = number;
    for (const name of [...names].reverse()) {
      const values = axes.get(name)!;
      combination[name] = values[rest % values.length]!;
      rest = Math.floor(rest / values.length);
    }
    if (!exclude.some((entry) => Object.keys(entry).every((key) => same(entry[key], combination[key]))))
      originals.push(combination);
  }
  if (names.length === 0 && include.length === 0) return ['{}'];
  const results = originals.map((original) => ({ original, added: {} as Record<string, Json> }));
  const alone: Combination[] = [];
  for (const entry of include) {
    let fitted = false;
    for (const result of results) {
      if (Object.keys(entry).some((key) => key in result.original && !same(result.original[key], entry[key]))) continue;
      fitted = true;
      for (const [key, item] of Object.entries(entry)) if (!(key in result.original)) result.added[key] = item;
    }
    if (!fitted) alone.push(entry);
  }
  const text = (combination: Combination) =>
    JSON.stringify(Object.entries(combination).sort(([a], [b]) => (a < b ? -1 : 1)));
  return [...results.map(({ original, added }) => ({ ...original, ...added })), ...alone]
    .map(text)
    .map((t) => (t === '[]' ? '{}' : t));
}

it('agrees with the naive reading', () => {
  const item = fc.oneof(
    fc.integer({ min: 0, max: 2 }),
    fc.constantFrom('x', 'y'),
    fc.constantFrom<Json[]>(['q'], ['q', 'v']),
  );
  const axis = fc.uniqueArray(item, { minLength: 1, maxLength: 3, selector: (v) => JSON.stringify(v) });
  const entry = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'extra'), item, {
    minKeys: 1,
    maxKeys: 3,
    noNullPrototype: true,
  });
  const axes = fc.dictionary(fc.constantFrom('a', 'b', 'c'), axis, { maxKeys: 3, noNullPrototype: true });
  fc.assert(
    fc.property(
      axes,
      fc.array(entry, { maxLength: 4 }),
      fc.array(entry, { maxLength: 3 }),
      (byName, include, exclude) => {
        const given = matrix(byName, include, exclude);
        const text = (combination: Combination) =>
          JSON.stringify(Object.entries(combination).sort(([a], [b]) => (a < b ? -1 : 1)));
        const found = expandMatrix(given)
          .map(text)
          .map((t) => (t === '[]' ? '{}' : t));
        expect(found).toEqual(oracle(given));
      },
    ),
    { numRuns: 1000 },
  );
});

test.each<[Combination, string]>([
  [{}, 'train'],
  [{ precision: 'nf4', seed: 1 }, 'train[precision=nf4,seed=1]'],
  [{ targets: ['q', 'v'] }, 'train[targets=q+v]'],
  [{ targets: 'q+v' }, 'train[targets=q+v]'],
  [{ config: { name: 'small', width: 64 } }, 'train[config=small]'],
  [{ config: { rank: 8, bits: 4 } }, 'train[config=rank:8;bits:4]'],
  [{ text: 'a, b=[c]' }, 'train[text="a, b=[c]"]'],
  [{ text: '', on: true, none: null, list: [] }, 'train[text="",on=true,none=null,list=[]]'],
])('%j names the task %s', (axes, id) => {
  expect(taskId('train', axes)).toBe(id);
});
