/** How many bits each family of matrices gets: what `choose-bits` writes and `quantize` reads. */
import { StageError } from '../../engine/stage.ts';
import { type Family, families } from '../../model/gpt2.ts';
import { writeJson } from '../../model/json.ts';
import type { Bits } from '../../model/nf4_codebooks.ts';
import { readFields } from '../shared/fields.ts';

export type Choice = Partial<Readonly<Record<Family, Bits>>>;

/** @param reasons what the choice was made by, for people. */
export function writeChoice(path: string, bits: Choice, reasons: Readonly<Record<string, unknown>>): void {
  writeJson(path, { bits, ...reasons });
}

/** @throws StageError when the file is not a choice. */
export function readChoice(path: string): Choice {
  const what = `the choice of bits in ${path}`;
  const bits = readFields(path, what).inside('bits');
  const chosen: { [family in Family]?: Bits } = {};
  for (const family of families) {
    if (!bits.has(family)) continue;
    const width = bits.number(family);
    if (width !== 2 && width !== 3 && width !== 4 && width !== 8)
      throw new StageError(`${what}: ${family} has ${width} bits; 2, 3, 4 and 8 can be had`);
    chosen[family] = width;
  }
  return chosen;
}
