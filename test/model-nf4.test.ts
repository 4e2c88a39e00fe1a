/** NormalFloat quantization against its definition, stated here once more in the plainest way. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { roundToBfloat16 } from '../model/float16.ts';
import {
  dequantize,
  dequantizeAbsmax,
  nestedBlock,
  type PackedBits,
  packedBytes,
  quantize,
  quantizeAbsmax,
  quantizedValues,
} from '../model/nf4.ts';
import { codeThresholds, dynamicMap, normalFloatCodebook } from '../model/nf4_codebooks.ts';
import { normals } from './support/toy.ts';

const block = 8;

/** The code by trying all: the nearest entry, of two equally near the lower. Distances of float32 numbers in [-1, 1], in exact integers. */
function nearestByTrial(codebook: ArrayLike<number>, value: number): number {
  let best = 0;
  for (let code = 1; code < codebook.length; code++) {
    if (exactDistance(codebook[code]!, value) < exactDistance(codebook[best]!, value)) best = code;
  }
  return best;
}

/** |a - b| in units of 2^-149, the step of the smallest float32. */
function exactDistance(a: number, b: number): bigint {
  const difference = inUnits(a) - inUnits(b);
  return difference < 0n ? -difference : difference;
}

function inUnits(value: number): bigint {
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, value);
  const word = bits.getUint32(0);
  const exponent = (word >>> 23) & 0xff;
  const mantissa = BigInt(exponent === 0 ? word & 0x7fffff : (word & 0x7fffff) | 0x800000);
  const magnitude = mantissa << BigInt(Math.max(exponent - 1, 0));
  return word >>> 31 === 1 ? -magnitude : magnitude;
}

/** The codes of each element, unpacked: the even element is in the high half of its byte. */
function unpack(codes: Uint8Array): number[] {
  return Array.from(codes).flatMap((byte) => [byte >>> 4, byte & 15]);
}

function expectDefinition(weights: Float32Array, bits: PackedBits): void {
  const { codes, absmax, codebook } = quantize(weights, block, bits);
  const entries = codebook.subarray(0, 2 ** bits);
  const unpacked = unpack(codes);
  for (let start = 0; start < weights.length; start += block) {
    const elements = weights.subarray(start, start + block);
    const scale = elements.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
    expect(absmax[start / block]).toBe(scale);
    const expected = Array.from(elements, (value) =>
      nearestByTrial(entries, scale === 0 ? 0 : Math.fround(value / scale)),
    );
    expect(unpacked.slice(start, start + block)).toEqual(expected);
  }
}

/** Blocks of every kind that a definition can trip over. */
const kinds = (codebook: Float32Array): Record<string, fc.Arbitrary<number>> => {
  const ties = Array.from(codebook.slice(1), (entry, i) => Math.fround((entry + codebook[i]!) / 2));
  return {
    random: fc.float({ noNaN: true, noDefaultInfinity: true, min: -2, max: 2 }),
    'of any magnitude': fc.float({ noNaN: true, noDefaultInfinity: true }),
    denormal: fc.float({ noNaN: true, min: -(2 ** -126), max: 2 ** -126 }),
    tied: fc.constantFrom(...ties, ...codebook, 1, -1),
    'zero and few': fc.constantFrom(0, -0, 0, 0, 2 ** -149, 3),
  };
};

describe.each([2, 3, 4] as const)('%d bits', (bits) => {
  const codebook = normalFloatCodebook(bits);

  it('the nearest code is the number of thresholds that lie below', () => {
    const thresholds = codeThresholds(codebook);
    const ties = Array.from(codebook.slice(1), (entry, i) => Math.fround((entry + codebook[i]!) / 2));
    const any = fc.oneof(
      fc.float({ noNaN: true, min: -1, max: 1 }),
      fc.constantFrom(...thresholds, ...ties, ...codebook),
    );
    fc.assert(
      fc.property(any, (x) => {
        expect(thresholds.filter((threshold) => x > threshold)).toHaveLength(nearestByTrial(codebook, x));
      }),
      { numRuns: 1000 },
    );
  });

  it.each(Object.entries(kinds(codebook)))('blocks that are %s have the codes of the definition', (_, element) => {
    const weights = fc.array(element, { minLength: 2 * block, maxLength: 2 * block });
    fc.assert(
      fc.property(weights, (values) => expectDefinition(Float32Array.from(values), bits)),
      { numRuns: 200 },
    );
  });

  it('a ratio that float32 rounds to a tie is a tie', () => {
    const entries = Array.from(codebook);
    const ties = entries.slice(1).map((entry, i) => Math.fround((entry + entries[i]!) / 2));
    const scale = fc.float({ noNaN: true, min: 1, max: 2 });
    fc.assert(
      fc.property(
        scale,
        fc.array(fc.constantFrom(...ties), { minLength: block - 1, maxLength: block - 1 }),
        (s, ratios) => expectDefinition(Float32Array.from([s, ...ratios.map((ratio) => ratio * s)]), bits),
      ),
      { numRuns: 200 },
    );
  });

  it('a constant block comes back as it was, if bf16 can hold it', () => {
    const value = fc
      .float({ noNaN: true, noDefaultInfinity: true })
      .map((x) => roundToBfloat16(Float32Array.of(x))[0]!);
    fc.assert(
      fc.property(value.filter(Number.isFinite), (x) => {
        const weights = new Float32Array(block).fill(x);
        // -0 and 0 are one number to a codebook.
        expect(dequantize(quantize(weights, block, bits)).map((w) => w + 0)).toEqual(weights.map((w) => w + 0));
      }),
    );
  });

  it('a block of zeros is zeros, whatever its neighbours are', () => {
    const weights = Float32Array.from({ length: 3 * block }, (_, i) => (Math.floor(i / block) === 1 ? 0 : i - 11.5));
    const middle = dequantize(quantize(weights, block, bits)).subarray(block, 2 * block);
    expect(middle).toEqual(new Float32Array(block));
  });

  it('quantizing what was dequantized changes no code', () => {
    const weights = normals(64 * block, 1, 1);
    const once = quantize(weights, block, bits);
    expect(quantize(dequantize(once), block, bits).codes).toEqual(once.codes);
  });

  it('the codebook ascends from -1 to 1 through an exact 0', () => {
    expect(codebook.length).toBe(2 ** bits);
    expect([codebook[0], codebook[2 ** (bits - 1) - 1], codebook.at(-1)]).toEqual([-1, 0, 1]);
    expect(Array.from(codebook).sort((a, b) => a - b)).toEqual(Array.from(codebook));
  });
});

describe('the codebooks', () => {
  it('4 bits are the table that QLoRA published, to the bit', () => {
    // Dettmers et al. 2023, appendix E.
    const published = [
      -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
      -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
      0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ];
    expect(Array.from(normalFloatCodebook(4))).toEqual(published);
  });

  it('2 bits hold the quantiles of the normal distribution, by the table of Φ', () => {
    // Φ(1.0546) = 0.8542 = 1 - (1/8 + 1/6)/2 and Φ(0.4596) = 0.6771, halfway to 1/2.
    expect(normalFloatCodebook(2)[2]).toBeCloseTo(0.4596 / 1.0546, 4);
  });

  it('8 bits hold 256 entries whose halves go by the table of Φ', () => {
    const codebook = normalFloatCodebook(8);
    expect(new Set(codebook).size).toBe(256);
    expect([codebook[0], codebook[127], codebook[255]]).toEqual([-1, 0, 1]);
    // 1 - (1/512 + 1/510)/2 = 0.998043 = Φ(2.8853); halfway from 1/2 to it, 64 of 128 entries up, is 0.749021 = Φ(0.6714).
    expect(codebook[127 + 64]).toBeCloseTo(0.6714 / 2.8853, 4);
  });

  it.each([2, 3, 4, 8] as const)('values of %i bits are those of codes, and the more bits the nearer', (bits) => {
    const weights = normals(64 * 64, 3, 1);
    for (const doubly of [false, true]) {
      const values = quantizedValues(weights, 64, bits, doubly);
      if (bits !== 8) {
        const codes = quantize(weights, 64, bits);
        const absmax = doubly ? dequantizeAbsmax(quantizeAbsmax(codes.absmax)) : codes.absmax;
        expect(values).toEqual(dequantize({ ...codes, absmax }));
      }
      const error = Math.hypot(...values.map((value, i) => value - weights[i]!)) / Math.hypot(...weights);
      // Half a step of a uniform code of that width over ±3 deviations, within a factor of three: tails get few entries.
      expect(error).toBeLessThan(3 * (3 / 2 ** bits / Math.sqrt(3)));
      expect(error).toBeGreaterThan(3 / 2 ** bits / Math.sqrt(3) / 2);
    }
  });

  it('packed bytes are codes and scales, as QLoRA counts them', () => {
    const weights = 64 * 256 * 10;
    expect(packedBytes(weights, 64, 4, true) / weights).toBe(0.5 + 1 / 64 + 4 / 16384);
    expect(packedBytes(weights, 64, 8, false) / weights).toBe(1 + 4 / 64);
    expect(packedBytes(128, 64, 2, true)).toBe(32 + 2 + 4);
  });

  it('the dynamic map has 256 entries, symmetric but for 0 and 1, finer toward 0', () => {
    const map = Array.from(dynamicMap());
    expect(new Set(map).size).toBe(256);
    expect(map.filter((x) => x > 0 && x < 1)).toEqual(
      map
        .filter((x) => x < 0)
        .map((x) => -x)
        .reverse(),
    );
    expect([map[0], map[127], map[128], map[254], map[255]]).toEqual(
      [-(1 - 0.45 / 64), 0, 0.55e-6, 1 - 0.45 / 64, 1].map(Math.fround),
    );
    expect(map.slice(129, 131)).toEqual([0.325e-5, 0.775e-5].map(Math.fround));
  });
});

describe('double quantization', () => {
  it('subtracts the mean, scales blocks of 256 and picks the nearest entry of the map', () => {
    const absmax = normals(2 * nestedBlock + 37, 0.1, 2).map((value) => Math.abs(value) + 0.5);
    const { codes, nestedAbsmax, nestedCodebook, offset } = quantizeAbsmax(absmax);
    expect(nestedAbsmax.length).toBe(3);
    expect(offset).toBe(Math.fround(absmax.reduce((sum, value) => sum + value, 0) / absmax.length));
    const centered = absmax.map((value) => value - offset);
    codes.forEach((code, i) => {
      const scale = nestedAbsmax[Math.floor(i / nestedBlock)]!;
      expect(code).toBe(nearestByTrial(nestedCodebook, Math.fround(centered[i]! / scale)));
    });
    for (let start = 0; start < absmax.length; start += nestedBlock) {
      const magnitudes = centered.subarray(start, start + nestedBlock).map(Math.abs);
      expect(nestedAbsmax[start / nestedBlock]).toBe(Math.max(...magnitudes));
    }
  });

  it('gives scales back to within half the widest step of the map', () => {
    const widest = dynamicMap().reduce((most, entry, i, map) => Math.max(most, entry - (map[i - 1] ?? entry)), 0);
    const scales = fc.array(fc.float({ noNaN: true, min: 0, max: 4 }), { minLength: 1, maxLength: 600 });
    fc.assert(
      fc.property(scales, (values) => {
        const absmax = Float32Array.from(values);
        const nested = quantizeAbsmax(absmax);
        dequantizeAbsmax(nested).forEach((value, i) => {
          const step = nested.nestedAbsmax[Math.floor(i / nestedBlock)]! * widest;
          expect(Math.abs(value - absmax[i]!)).toBeLessThanOrEqual(step / 2 + 1e-6);
        });
      }),
    );
  });

  it('equal scales come back exactly', () => {
    const absmax = new Float32Array(300).fill(0.7);
    expect(dequantizeAbsmax(quantizeAbsmax(absmax))).toEqual(absmax);
  });

  it('takes 0.5159 bytes a parameter in blocks of 64', () => {
    const parameters = 1024 * 1024;
    const quantized = quantize(new Float32Array(parameters), 64);
    const nested = quantizeAbsmax(quantized.absmax);
    const bytes = quantized.codes.byteLength + nested.codes.byteLength + nested.nestedAbsmax.byteLength;
    expect(bytes / parameters).toBe(0.5 + 1 / 64 + 4 / 16384);
  });
});

describe('what cannot be quantized', () => {
  it.each([Number.NaN, Infinity, -Infinity])('%d is refused, with its place', (value) => {
    const weights = new Float32Array(2 * block);
    weights[11] = value;
    expect(() => quantize(weights, block)).toThrow(`element 11 is ${value}`);
    expect(() => quantizeAbsmax(weights)).toThrow(`scale 11 is ${value}`);
  });

  it.each([0, 3, 2.5, 32])('a block of %d for 16 elements is refused', (size) => {
    expect(() => quantize(new Float32Array(16), size)).toThrow(`a block of ${size} does not fit 16 elements`);
  });
});
