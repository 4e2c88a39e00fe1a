/** The stages bases and choose-bits, on synthetic measurements with known answers. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromCSV } from 'arquero';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Json, Member } from '../engine/stage.ts';
import { families } from '../model/gpt2.ts';
import { measureBases } from '../stages/bases/measures.ts';
import bases from '../stages/bases.ts';
import { chooseBits } from '../stages/choose-bits/budget.ts';
import chooseBitsStage from '../stages/choose-bits.ts';
import compare from '../stages/compare.ts';
import { openWorkshop, type Workshop } from './support/stages.ts';
import { exampleLosses, raised, writeMetrics, writeStudy } from './support/study.ts';

type Row = Readonly<Record<string, string | number>>;
const rowsOf = (folder: string, name: string) =>
  fromCSV(readFileSync(join(folder, `${name}.csv`), 'utf8')).objects() as Row[];
const workshopOf = (): Workshop => {
  const workshop = openWorkshop();
  onTestFinished(workshop.remove);
  return workshop;
};

/** Bases of 16, 8, 4 and 2 bits, of which each loses what is planted. */
function plant({ folder }: Workshop, seed: number, planted = { 8: 0, 4: 0.05, 2: 0.6 }) {
  const losses = exampleLosses(80, seed);
  const member = (name: string, axes: Record<string, Json>, write: (path: string) => unknown): Member => {
    const path = join(folder, name);
    write(path);
    return { path, axes };
  };
  const increases = { 16: 0, ...planted };
  const untrained = Object.entries(increases).map(([bits, increase]) =>
    member(`${bits}.json`, { bits: Number(bits) }, (path) => {
      const lossPerExample = bits === '16' ? losses : raised(losses, increase, 0.02, seed + Number(bits));
      writeMetrics(path, { lossPerExample });
    }),
  );
  const summaries = Object.keys(increases).map((bits) =>
    member(`${bits}-summary.json`, { bits: Number(bits) }, (path) => {
      const relativeErrors = bits === '16' ? {} : { a: 0.1, b: 0.3 };
      const packedBytes = 1e6 + Number(bits) * 1e5;
      writeFileSync(
        path,
        JSON.stringify({ quantizedWeights: 8e5, relativeErrors, packedBytes, meanBits: Number(bits) }),
      );
    }),
  );
  const tuned = Object.entries(increases).flatMap(([bits, increase]) =>
    [1, 2, 3].map((run) =>
      member(`${bits}-${run}.json`, { bits: Number(bits), targets: 'q+v', seed: run }, (path) =>
        writeMetrics(path, { lossPerExample: losses, loss: (1 + run / 100) * (1 + increase / 2) }),
      ),
    ),
  );
  return { untrained, summaries, tuned };
}

describe('bases', () => {
  test('shows size, error and loss of each base, and finds planted increases and no others', async () => {
    const workshop = workshopOf();
    const inputs = plant(workshop, 7);
    const params = {
      contrasts: [
        ['4', '8'],
        ['8', '16'],
        ['2', '4'],
      ],
    };
    const { outputs } = await workshop.run(bases, { params, inputs });
    const rows = rowsOf(outputs.tables!, 'bases');
    expect(rows.map(({ bits }) => bits)).toEqual([2, 4, 8, 16]);
    const [two, four, eight, whole] = rows as [Row, Row, Row, Row];
    expect(four).toMatchObject({ mean_bits: 4, packed_mb: 1.4, relative_error: '0.2' });
    expect(four.share_percent).toBeCloseTo((100 * 1.4) / 2.6, 9);
    expect([whole.relative_error, whole.increase]).toEqual(['n/a', 'n/a']);
    for (const [row, planted] of [
      [two, 0.6],
      [four, 0.05],
      [eight, 0],
    ] as const) {
      expect(Number(row.increase_low)).toBeLessThan(planted);
      expect(Number(row.increase_high)).toBeGreaterThan(planted);
      expect(Number(row.increase_low) > 0).toBe(planted > 0);
    }
    expect(rowsOf(outputs.tables!, 'contrasts').map(({ told_apart }) => told_apart)).toEqual(['yes', 'no', 'yes']);
    // Tuned losses are planted without noise between seeds: half the increase remains, exactly.
    for (const { bits, change_percent, change_percent_low } of rowsOf(outputs.tables!, 'tuned_bases') as Record<
      string,
      number
    >[]) {
      const planted = { 8: 0, 4: 2.5, 2: 30 }[bits as 8 | 4 | 2];
      expect(change_percent).toBeCloseTo(planted, 9);
      expect(change_percent_low).toBeCloseTo(planted, 9);
    }
    const svg = readFileSync(join(outputs.figures!, 'base_losses.svg'), 'utf8');
    expect(svg).toContain('without adapters');
    expect(svg).toContain('adapters on q+v');
  });

  test('finds an increase where there is none no more often than stated, all bases together', () => {
    const workshop = workshopOf();
    const worlds = Array.from({ length: 60 }, (_, i) => plant(workshop, 1000 + 10 * i, { 8: 0, 4: 0, 2: 0 }));
    const how = { confidence: 0.95, resamples: 200, seed: 1 };
    const wrong = worlds.filter((inputs) =>
      measureBases(inputs, { name: 'bits', reference: '16' }, how).some(
        ({ increase }) => increase !== null && (increase.interval.low > 0 || increase.interval.high < 0),
      ),
    );
    // 5 % of 60 is 3; 9 or more come by chance once in 500.
    expect(wrong.length).toBeLessThan(9);
  });

  test.each([
    [{ reference: '32' }, '"untrained" has no member with bits 32'],
    [{ contrasts: [['4', '3']] }, 'contrasts name the bits 3, which was not evaluated'],
    [{ contrasts: [['4']] }, 'contrasts: ["4"] is not a pair of bases'],
  ])('refuses %j', async (params, message) => {
    const workshop = workshopOf();
    const { untrained, summaries } = plant(workshop, 3);
    await expect(workshop.run(bases, { params, inputs: { untrained, summaries } })).rejects.toThrow(message);
  });
});

describe('choosing bits', () => {
  const measured = families.map((family, i) => ({
    family,
    weights: [1, 1, 1, 1, 4, 4][i]!,
    perMillion: [0.1, 0.5, 0.3, 0.2, 0.4, -0.1][i]!,
  }));

  test('gives the many bits by loss per weight while the budget lasts', () => {
    // Of 12 parts, 4.5 may have 8 bits at 5.5 on average: k (1), then fc (4) is too large, v (1), o (1) and q (1) are not.
    const { bits, meanBits } = chooseBits(measured, { order: 'most', high: 8, low: 4, budget: 5.5 });
    expect(bits).toEqual({ q: 8, k: 8, v: 8, o: 8, fc: 4, proj: 4 });
    expect(meanBits).toBeCloseTo(4 + (4 * 4) / 12, 12);
    const control = chooseBits(measured, { order: 'least', high: 8, low: 4, budget: 5.5 });
    expect(control.bits).toEqual({ q: 4, k: 4, v: 4, o: 4, fc: 4, proj: 8 });
    expect(control.meanBits).toBeCloseTo(meanBits, 12);
  });

  test('never spends more than the budget, nor leaves out a family that it had room for', () => {
    const sensitivity = fc.tuple(...families.map(() => fc.double({ min: -1, max: 1, noNaN: true })));
    fc.assert(
      fc.property(
        sensitivity,
        fc.double({ min: 4, max: 8, noNaN: true }),
        fc.constantFrom('most', 'least'),
        (all, budget, order) => {
          const given = measured.map((one, i) => ({ ...one, perMillion: all[i]! }));
          const { bits, meanBits } = chooseBits(given, { order, high: 8, low: 4, budget });
          expect(meanBits).toBeLessThanOrEqual(budget + 1e-6);
          for (const { family, weights } of given)
            if (bits[family] === 4) expect(meanBits + (4 * weights) / 12).toBeGreaterThan(budget);
        },
      ),
    );
  });

  test('takes the sensitivities of a comparison, and refuses one without', async () => {
    const workshop = workshopOf();
    const study = writeStudy(join(workshop.folder, 'study'), { layers: 1, seeds: [1, 2] });
    const compared = await workshop.run(compare, { inputs: { ...study } });
    const results = compared.outputs.results!;
    const { outputs } = await workshop.run(chooseBitsStage, { params: { budget: 8 }, inputs: { results } });
    const choice = JSON.parse(readFileSync(outputs.choice!, 'utf8')) as { bits: object; sensitivities: unknown[] };
    expect(choice.bits).toEqual(Object.fromEntries(families.map((family) => [family, 8])));
    expect(choice.sensitivities).toHaveLength(6);
    const { metrics, summaries } = study;
    const without = await workshop.run(compare, { inputs: { metrics, summaries } });
    await expect(workshop.run(chooseBitsStage, { inputs: { results: without.outputs.results! } })).rejects.toThrow(
      'the results hold no sensitivities',
    );
  });
});
