/** Measures text with a TrueType font's own advance widths, so that a layout made without a canvas has room for its labels. */
import { readFileSync } from 'node:fs';

/** The widths of one font. */
export interface FontMetrics {
  /** The width of one line of text at a font size, in the unit of the size. Kerning is left out: it moves a label by a pixel at most. */
  width(text: string, size: number): number;
}

/**
 * Reads a TrueType file: the tables head, hhea, hmtx and cmap (format 4: the Basic Multilingual Plane).
 * OpenType specification 1.9.1, chapters of these names.
 * @throws Error when a table is missing or the character map has another format.
 */
export function readFont(path: string): FontMetrics {
  const bytes = readFileSync(path);
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const tables = readDirectory(data);
  const offsetOf = (name: string): number => {
    const offset = tables.get(name);
    if (offset === undefined) throw new Error(`${path} is no TrueType font: it has no table "${name}"`);
    return offset;
  };
  const unitsPerEm = data.getUint16(offsetOf('head') + 18);
  const metricCount = data.getUint16(offsetOf('hhea') + 34);
  const metrics = offsetOf('hmtx');
  const glyphOf = readCharacterMap(data, offsetOf('cmap'), path);
  // Glyphs beyond the last metric share its advance.
  const advanceOf = (glyph: number) => data.getUint16(metrics + 4 * Math.min(glyph, metricCount - 1));
  return {
    width(text, size) {
      let units = 0;
      for (const character of text) units += advanceOf(glyphOf(character.codePointAt(0)!));
      return (units * size) / unitsPerEm;
    },
  };
}

/** Table name -> offset. */
function readDirectory(data: DataView): ReadonlyMap<string, number> {
  const tables = new Map<string, number>();
  for (let i = 0; i < data.getUint16(4); i++) {
    const entry = 12 + 16 * i;
    const name = String.fromCharCode(...[0, 1, 2, 3].map((k) => data.getUint8(entry + k)));
    tables.set(name, data.getUint32(entry + 8));
  }
  return tables;
}

/** Code point -> glyph; glyph 0 for a character that the font lacks. */
function readCharacterMap(data: DataView, cmap: number, path: string): (codePoint: number) => number {
  const subtables = Array.from({ length: data.getUint16(cmap + 2) }, (_, i) => cmap + data.getUint32(cmap + 8 + 8 * i));
  const map = subtables.find((subtable) => data.getUint16(subtable) === 4);
  if (map === undefined) throw new Error(`${path} has no character map of format 4`);
  const doubled = data.getUint16(map + 6);
  const endCodes = map + 14;
  const startCodes = endCodes + doubled + 2;
  const deltas = startCodes + doubled;
  const rangeOffsets = deltas + doubled;
  return (codePoint) => {
    for (let at = 0; at < doubled; at += 2) {
      if (codePoint > data.getUint16(endCodes + at)) continue;
      const start = data.getUint16(startCodes + at);
      if (codePoint < start) return 0;
      const delta = data.getUint16(deltas + at);
      const rangeOffset = data.getUint16(rangeOffsets + at);
      if (rangeOffset === 0) return (codePoint + delta) & 0xffff;
      const glyph = data.getUint16(rangeOffsets + at + rangeOffset + 2 * (codePoint - start));
      return glyph === 0 ? 0 : (glyph + delta) & 0xffff;
    }
    return 0;
  };
}
