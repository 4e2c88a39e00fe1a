/** The safetensors format and the 16-bit floats: what is written comes back, and what lies is refused by name. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { fromBfloat16, fromFloat16, roundToBfloat16, toBfloat16, toFloat16 } from '../model/float16.ts';
import { openSafetensors, type Tensor, writeSafetensors } from '../model/safetensors.ts';

const folder = mkdtempSync(join(tmpdir(), 'pipe-safetensors-'));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, 'x.safetensors');

const arrays = {
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  U8: Uint8Array,
  I8: Int8Array,
  I32: Int32Array,
  I64: BigInt64Array,
};

const anyTensor: fc.Arbitrary<Tensor> = fc
  .tuple(
    fc.constantFrom(...(Object.keys(arrays) as Tensor['dtype'][])),
    fc.array(fc.nat(4), { maxLength: 3 }),
    fc.uint8Array({ minLength: 512, maxLength: 512 }),
  )
  .map(([dtype, shape, bytes]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return { dtype, shape, data: new arrays[dtype](bytes.buffer.slice(0), 0, count) } as Tensor;
  });

/** A file with this header, this much data after it, and possibly a lie about the header's length. */
function forge(header: unknown, dataBytes: number, headerBytes?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerBytes ?? BigInt(json.length));
  const forged = join(folder, 'forged.safetensors');
  writeFileSync(forged, Buffer.concat([length, json, Buffer.alloc(dataBytes)]));
  return forged;
}

describe('safetensors', () => {
  test('any tensors come back bit for bit, and the bytes do not depend on the order of insertion', () => {
    const names = fc.string({ minLength: 1 }).filter((name) => name !== '__metadata__');
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(names, anyTensor), { selector: ([name]) => name, maxLength: 6 }),
        fc.dictionary(fc.string(), fc.string()),
        (entries, metadata) => {
          writeSafetensors(path, new Map(entries), metadata);
          const bytes = readFileSync(path);
          const file = openSafetensors(path);
          expect([...file.tensors.keys()].sort()).toEqual(entries.map(([name]) => name).sort());
          for (const [name, tensor] of entries) {
            const back = file.read(name);
            expect([back.dtype, back.shape]).toEqual([tensor.dtype, tensor.shape]);
            const raw = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
            expect(raw(back).equals(raw(tensor))).toBe(true);
          }
          expect({ ...file.metadata }).toEqual({ ...metadata });
          writeSafetensors(path, new Map(entries.toReversed()), metadata);
          expect(readFileSync(path).equals(bytes)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('the layout is the published one: length, JSON, data', () => {
    writeSafetensors(path, new Map([['w', { dtype: 'F32', shape: [2, 1], data: Float32Array.of(1, -2) }]]), {
      format: 'pt',
    });
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE());
    expect((8 + length) % 8).toBe(0);
    expect(JSON.parse(bytes.subarray(8, 8 + length).toString())).toEqual({
      __metadata__: { format: 'pt' },
      w: { dtype: 'F32', shape: [2, 1], data_offsets: [0, 8] },
    });
    expect([bytes.readFloatLE(8 + length), bytes.readFloatLE(12 + length)]).toEqual([1, -2]);
  });

  test('a file cut at any byte is refused', () => {
    writeSafetensors(path, new Map([['a.weight', { dtype: 'I32', shape: [3], data: Int32Array.of(1, 2, 3) }]]));
    const whole = readFileSync(path);
    const cut = join(folder, 'cut.safetensors');
    for (let length = 0; length < whole.length; length++) {
      writeFileSync(cut, whole.subarray(0, length));
      expect(() => openSafetensors(cut), `cut at ${length}`).toThrow(/cut\.safetensors/);
    }
  });

  const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]) => ({
    dtype: 'F32',
    shape,
    data_offsets: [begin, end],
  });
  test.each([
    [
      'a header longer than the file',
      forge.bind(null, '{}', 0, 1000n),
      /header should end at byte 1008, but the file ends at 10: it is truncated/,
    ],
    [
      'an absurd header length',
      forge.bind(null, '{}', 0, 2n ** 60n),
      /header's length is given as 1152921504606846976 bytes/,
    ],
    ['no JSON', forge.bind(null, 'hello', 0), /does not start with '\{'/],
    ['cut JSON', forge.bind(null, '{"a":', 0), /\(header\): the JSON is cut off/],
    [
      'an unknown type',
      forge.bind(null, { w: { ...f32(0, 4), dtype: 'F8' } }, 4),
      /tensor 'w': its type is "F8"; known types are F32/,
    ],
    ['a shape that is none', forge.bind(null, { w: f32(0, 4, [-1]) }, 4), /tensor 'w': its shape \[-1\]/],
    [
      'offsets that are none',
      forge.bind(null, { w: { ...f32(0, 4), data_offsets: [0] } }, 4),
      /tensor 'w': its data_offsets \[0\]/,
    ],
    ['offsets the wrong way', forge.bind(null, { w: f32(4, 0, [1]) }, 4), /begins at byte 4, after its end at 0/],
    [
      'an end beyond the file',
      forge.bind(null, { w: f32(0, 8) }, 4),
      /should end at byte 8, but the file holds 4 bytes of data/,
    ],
    [
      'a shape of another size',
      forge.bind(null, { w: f32(0, 8, [3]) }, 8),
      /F32 \[3\] takes 12 bytes, but its offsets 0 to 8 hold 8/,
    ],
    [
      'overlapping tensors',
      forge.bind(null, { a: f32(0, 8), b: f32(4, 12) }, 12),
      /tensor 'b' begins at byte 4 and overlaps tensor 'a'/,
    ],
    [
      'a gap',
      forge.bind(null, { a: f32(0, 4), b: f32(8, 12) }, 12),
      /bytes 4 to 8, before tensor 'b', belong to no tensor/,
    ],
    ['bytes at the end', forge.bind(null, { a: f32(0, 4) }, 12), /the last 8 bytes belong to no tensor/],
    ['metadata that is no strings', forge.bind(null, { __metadata__: { a: 1 } }, 0), /__metadata__/],
    ['an entry that is no object', forge.bind(null, { w: 3 }, 0), /tensor 'w': its header entry/],
  ])('%s is refused', (_, make, message) => {
    const forged = make();
    expect(() => openSafetensors(forged)).toThrow(message);
    expect(() => openSafetensors(forged)).toThrow(/forged\.safetensors/);
  });

  test('an unknown tensor, integers read as floats, and data of the wrong size are refused', () => {
    writeSafetensors(path, new Map([['ids', { dtype: 'I32', shape: [1], data: Int32Array.of(1) }]]));
    expect(() => openSafetensors(path).read('w')).toThrow(/there is no tensor 'w'/);
    expect(() => openSafetensors(path).readFloat32('ids')).toThrow(/tensor 'ids' is I32/);
    const short = new Map<string, Tensor>([['w', { dtype: 'F32', shape: [2, 2], data: new Float32Array(3) }]]);
    expect(() => writeSafetensors(path, short)).toThrow(/'w' of shape \[2, 2\] needs 4 elements, but has 3/);
  });
});

describe('16-bit floats', () => {
  const values = fc.float32Array({ minLength: 1, maxLength: 64 });
  const allBits = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const isNaNBits = (bits: number, exponent: number) => (bits & exponent) === exponent && (bits & 0x7fff) !== exponent;

  test('every 16-bit value survives the way to float32 and back', () => {
    const [half, brain] = [toFloat16(fromFloat16(allBits)), toBfloat16(fromBfloat16(allBits))];
    for (const bits of allBits) {
      if (!isNaNBits(bits, 0x7c00)) expect(half[bits]).toBe(bits);
      if (!isNaNBits(bits, 0x7f80)) expect(brain[bits]).toBe(bits);
    }
  });

  /** The nearest of two neighbours of a float type, a tie going to the even one, by plain arithmetic. */
  function nearest(value: number, significandBits: number, leastExponent: number, largest: number): number {
    if (value === 0 || !Number.isFinite(value)) return value;
    const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), leastExponent);
    const unit = 2 ** (exponent - significandBits);
    const [scaled, floor] = [value / unit, Math.floor(value / unit)];
    const rest = scaled - floor;
    const rounded = (rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor) * unit;
    return Math.abs(rounded) > largest ? Math.sign(value) * Infinity : rounded;
  }

  test('rounding is to the nearest, ties to even', () => {
    const ties = Float32Array.of(
      1 + 2 ** -8,
      1 + 3 * 2 ** -8,
      -1 - 2 ** -8,
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      2 ** -25,
      3 * 2 ** -25,
      65519,
      65520,
      3.4e38,
      2 ** -14,
    );
    const check = (x: Float32Array) => {
      const [half, brain] = [fromFloat16(toFloat16(x)), fromBfloat16(toBfloat16(x))];
      for (const [i, value] of x.entries()) {
        expect(half[i]! + 0).toBe(nearest(value, 10, -14, 65504) + 0);
        expect(brain[i]! + 0).toBe(nearest(value, 7, -126, 3.3895313892515355e38) + 0);
      }
      expect(roundToBfloat16(x)).toEqual(brain);
    };
    check(ties);
    fc.assert(fc.property(values, check));
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -70000, max: 70000, noNaN: true })).map((list) => Float32Array.from(list)),
        check,
      ),
    );
  });
});
