/** NF4 quantization in native code, against the definition worked out with exact rational comparisons. */
import { describe, expect, test } from 'vitest';
import { addon, random } from './native/case.ts';
import { codebook } from './native/nf4_cases.ts';

/** The definition: absmax and quotient in float32; the nearest code, found by comparing distances exactly. */
function quantize(w: Float32Array, block: number): { codes: number[]; absmax: number[] } {
  const absmax: number[] = [];
  const codes: number[] = [];
  for (let begin = 0; begin < w.length; begin += block) {
    const part = [...w.subarray(begin, begin + block)];
    const largest = Math.max(...part.map(Math.abs));
    absmax.push(largest);
    codes.push(...part.map((v) => (largest === 0 ? 7 : nearest(Math.fround(v / largest)))));
  }
  return { codes, absmax };
}

/** A float32 as an integer multiple of 2^-149, so that distances are exact. */
function exact(x: number): bigint {
  const scaled = x * 2 ** 100; // still a float64 without rounding: only the exponent changes
  return scaled === 0 ? 0n : BigInt(scaled * 2 ** 49);
}

function nearest(x: number): number {
  const distance = (code: number) => {
    const d = exact(x) - exact(Math.fround(codebook[code]!));
    return d < 0n ? -d : d;
  };
  return codebook.reduce((best, _, code) => (distance(code) < distance(best) ? code : best), 0);
}

function unpack(codes: Uint8Array): number[] {
  return [...codes].flatMap((byte) => [byte >> 4, byte & 15]);
}

function expectDefinition(w: Float32Array, block: number): void {
  const actual = addon().nf4Quantize(w, block);
  const expected = quantize(w, block);
  expect(unpack(actual.codes)).toEqual(expected.codes);
  expect([...actual.absmax]).toEqual(expected.absmax);
}

describe('nf4Quantize', () => {
  test('random weights', () => {
    const next = random(1);
    const normal = () => Math.sqrt(-2 * Math.log((next() + 1) / 2 || 1)) * Math.cos(Math.PI * next());
    expectDefinition(
      Float32Array.from({ length: 64 * 40 }, () => 0.02 * normal()),
      64,
    );
  });

  test.each([2, 6, 30, 34, 128])('blocks of %i, which no vector need divide', (block) => {
    const next = random(block);
    expectDefinition(
      Float32Array.from({ length: block * 9 }, () => next()),
      block,
    );
  });

  test.each([0.3, -0.3, 1e-30, 3e38])('a constant block of %d has the code of its sign at full scale', (value) => {
    const { codes, absmax } = addon().nf4Quantize(new Float32Array(64).fill(value), 64);
    expect(new Set(unpack(codes))).toEqual(new Set([value > 0 ? 15 : 0]));
    expect([...absmax]).toEqual([Math.abs(Math.fround(value))]);
  });

  test.each([0, -0])('a block of %d has scale 0 and the code of zero', (value) => {
    const { codes, absmax } = addon().nf4Quantize(new Float32Array(64).fill(value), 64);
    expect(new Set(unpack(codes))).toEqual(new Set([7]));
    expect([...absmax]).toEqual([0]);
  });

  test('midpoints, and their neighbours among float32 numbers', () => {
    const beside = (x: number, by: number) => new Float32Array(new Int32Array([bits(x) + by]).buffer)[0]!;
    const middles = codebook
      .slice(1)
      .map((upper, i) => Math.fround((Math.fround(codebook[i]!) + Math.fround(upper)) / 2));
    const points = [1, ...middles.flatMap((x) => (x === 0 ? [0] : [beside(x, -1), x, beside(x, 1)]))];
    const block = points.length + (points.length % 2);
    const w = new Float32Array(block);
    w.set(points);
    expectDefinition(w, block);
  });

  test('a tie goes to the lower code', () => {
    // These midpoints are float32 numbers, so that with absmax 1 the weight lies exactly between two codes.
    const ties = codebook.slice(0, -1).flatMap((lower, code) => {
      const middle = (Math.fround(lower) + Math.fround(codebook[code + 1]!)) / 2;
      return middle === Math.fround(middle) ? [{ middle, code }] : [];
    });
    expect(ties.length).toBeGreaterThan(0);
    for (const { middle, code } of ties) {
      expect(unpack(addon().nf4Quantize(Float32Array.of(1, middle), 2).codes)).toEqual([15, code]);
    }
  });

  test('denormal weights', () => {
    const smallest = 2 ** -149;
    const next = random(3);
    expectDefinition(
      Float32Array.from({ length: 64 }, () => Math.round(next() * 1000) * smallest),
      64,
    );
    expectDefinition(Float32Array.of(smallest, 0, -smallest, smallest), 2);
  });

  test.each([
    [Number.NaN, 'weight 70 is NaN'],
    [Number.POSITIVE_INFINITY, 'weight 70 is infinite'],
    [Number.NEGATIVE_INFINITY, 'weight 70 is infinite'],
  ])('%d is refused', (value, message) => {
    const w = new Float32Array(128).fill(1);
    w[70] = value;
    expect(() => addon().nf4Quantize(w, 64)).toThrow(message);
  });

  test.each([0, 3, 48, -2])('blocks of %i do not fit 64 weights', (block) => {
    expect(() => addon().nf4Quantize(new Float32Array(64), block)).toThrow(RangeError);
  });
});

function bits(x: number): number {
  return new Int32Array(Float32Array.of(x).buffer)[0]!;
}
