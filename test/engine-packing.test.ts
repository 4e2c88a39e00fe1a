/** Packed lists of objects: what comes out is what went in, and what they have in common is one value. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { pack, unpack } from '../engine/packing.ts';

const things = fc.array(
  fc.record({
    id: fc.string(),
    size: fc.integer(),
    kind: fc.constantFrom('file', 'folder', null),
    tags: fc.array(fc.constantFrom('a', 'b'), { maxLength: 2 }),
  }),
);

test('what is unpacked is what was packed, through JSON too', () => {
  fc.assert(
    fc.property(things, (list) => {
      expect(unpack(JSON.parse(JSON.stringify(pack(list, ['id', 'size']))))).toEqual(list);
    }),
  );
});

test('a value that objects have in common is written once, and held once', () => {
  const list = Array.from({ length: 1000 }, (_, id) => ({ id, tags: ['the same', 'long', 'list', 'of', 'words'] }));
  const packed = pack(list, ['id']);
  expect(packed.common).toHaveLength(1);
  const [first, second] = unpack<{ tags: string[] }>(packed);
  expect(first!.tags).toBe(second!.tags);
});

test('objects with other fields are refused', () => {
  expect(() => pack([{ id: 1 }, { id: 2, more: 3 } as { id: number }], ['id'])).toThrow(TypeError);
  expect(() => pack([{ id: 1, a: 1 }, { id: 2, b: 3 } as never], ['id'])).toThrow(TypeError);
});
