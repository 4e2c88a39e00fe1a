/** What the benchmarks make of their measurements: medians, ratios, bars and the table. */
import { describe, expect, test } from 'vitest';
import { barText, type Figure, meetsBar, ratesOf, ratioOf, sampleOf, sampleText } from '../bench/figure.ts';
import { tableOf } from '../bench/table.ts';

const seconds = (...values: number[]) => sampleOf(values);
const faster: Figure = {
  what: 'ours',
  unit: 's',
  measured: seconds(0.1),
  against: { what: 'theirs', sample: seconds(2) },
};

describe('a sample', () => {
  test('has the middle value of an odd number, and the mean of the two middle ones of an even number', () => {
    expect(sampleOf([5, 1, 10])).toEqual({ median: 5, low: 1, high: 10, count: 3 });
    expect(sampleOf([4, 1, 10, 2]).median).toBe(3);
    expect(() => sampleOf([])).toThrow(RangeError);
  });

  test('of rates is work over time, so that the longest time is the lowest rate', () => {
    expect(ratesOf(6, [2, 3, 1])).toEqual({ median: 3, low: 2, high: 6, count: 3 });
  });

  test('is told with its spread in the unit of its median, seconds below one as milliseconds', () => {
    expect(sampleText(seconds(0.1184, 0.0951, 1.31), 's')).toBe('118 ms (95.1 to 1310, 3 times)');
    expect(sampleText(seconds(30.44), 's')).toBe('30.4 s');
    expect(sampleText(sampleOf([2799.4]), 'MB')).toBe('2799 MB');
  });
});

describe('a figure', () => {
  test('has a ratio above one where it is better: less time, or more work in a second', () => {
    expect(ratioOf(faster)).toBeCloseTo(20, 12);
    const rate = { ...faster, unit: 'GFLOP/s', measured: sampleOf([90]) } as const;
    expect(ratioOf({ ...rate, against: { what: 'theirs', sample: sampleOf([100]) } })).toBeCloseTo(0.9, 12);
    expect(ratioOf({ what: 'ours', unit: 's', measured: seconds(1) })).toBeUndefined();
  });

  test('meets a bar on its ratio, or on its median, or misses it', () => {
    expect(meetsBar(faster)).toBeUndefined();
    expect(meetsBar({ ...faster, bar: { ratio: 10 } })).toBe(true);
    expect(meetsBar({ ...faster, bar: { ratio: 21 } })).toBe(false);
    expect(meetsBar({ ...faster, bar: { value: 0.1 } })).toBe(true);
    expect(meetsBar({ ...faster, bar: { value: 0.09 } })).toBe(false);
    expect(meetsBar({ what: 'rate', unit: 'GiB/s', measured: sampleOf([2]), bar: { value: 2.5 } })).toBe(false);
    expect(() => meetsBar({ what: 'ours', unit: 's', measured: seconds(1), bar: { ratio: 2 } })).toThrow("'ours'");
  });

  test('says its bar in its own unit', () => {
    expect(barText({ ...faster, bar: { ratio: 10 } })).toBe('>= 10 x');
    expect(barText({ ...faster, bar: { value: 0.002 } })).toBe('<= 2 ms');
    expect(barText(faster)).toBe('');
  });
});

test('the table has a row for each figure, says what was missed, and why something was skipped', () => {
  const rows = tableOf([
    { ...faster, bar: { ratio: 21 } },
    { what: 'GEMM', skipped: 'no compiler\nand more' },
  ]).split('\n');
  const cells = rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  expect(cells[2]).toEqual(['ours', '100 ms', 'theirs: 2 s', '20', '>= 21 x', 'MISSED']);
  expect(cells[3]).toEqual(['GEMM', 'skipped: no compiler', '', '', '', '']);
  expect(new Set(rows.map(({ length }) => length)).size).toBe(1);
});
