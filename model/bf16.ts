/** bfloat16: the upper 16 bits of a float32. */

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/**
 * Rounds to the nearest bfloat16, a tie going to the one whose last bit is 0; overflow goes to infinity, NaN stays NaN.
 * @returns the upper 16 bits of the rounded float32.
 */
export function toBf16Bits(value: number): number {
  float[0] = value;
  const whole = bits[0]!;
  if ((whole & 0x7fffffff) > 0x7f800000) return (whole >>> 16) | 0x0040; // a NaN whose payload is all in the lower half must not become infinity
  return (whole + 0x7fff + ((whole >>> 16) & 1)) >>> 16;
}

/** The float32 whose upper 16 bits are given. */
export function fromBf16Bits(upper: number): number {
  bits[0] = upper << 16;
  return float[0]!;
}

/** Rounds each element to the nearest bfloat16, as a new float32 array. */
export function roundToBf16(values: Float32Array): Float32Array {
  const rounded = new Float32Array(values.length);
  const output = new Uint32Array(rounded.buffer);
  for (let i = 0; i < values.length; i++) output[i] = toBf16Bits(values[i]!) << 16;
  return rounded;
}
