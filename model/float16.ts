/** Conversions between float32 and the two 16-bit formats, bf16 and IEEE half, rounding to nearest, ties to even. */

const scratch = new DataView(new ArrayBuffer(4));

function bitsOf(value: number): number {
  scratch.setFloat32(0, value);
  return scratch.getUint32(0);
}

/** The bits of a float32 as bf16: its upper half, rounded to nearest even. A NaN stays a (quiet) NaN. */
function bfloat16Bits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x0040;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The views below see the bits of float32 values in place, which needs the host's floats and integers in one byte order. */
function asBits(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** Converts float32 [n] to bf16 bits [n]. */
export function toBfloat16(values: Float32Array): Uint16Array {
  const bits = asBits(values);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = bfloat16Bits(bits[i]!);
  return out;
}

/** Converts bf16 bits [n] to float32 [n], exactly. */
export function fromBfloat16(values: Uint16Array): Float32Array {
  const out = new Float32Array(values.length);
  const bits = asBits(out);
  for (let i = 0; i < values.length; i++) bits[i] = values[i]! << 16;
  return out;
}

/** Rounds float32 [n] to the nearest bf16 values, kept as float32 [n]. */
export function roundToBfloat16(values: Float32Array): Float32Array {
  const out = new Float32Array(values.length);
  const from = asBits(values);
  const to = asBits(out);
  for (let i = 0; i < from.length; i++) to[i] = bfloat16Bits(from[i]!) << 16;
  return out;
}

/** Converts float32 [n] to IEEE 754 half-precision bits [n]; beyond 65,504 (after rounding) comes infinity. */
export function toFloat16(values: Float32Array): Uint16Array {
  const bits = asBits(values);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = float16Bits(bits[i]!);
  return out;
}

function float16Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x01ff);
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65,520 and more round to infinity
  if (magnitude >= 0x38800000) {
    // Normal: rebias the exponent from 127 to 15 and round away 13 bits of the mantissa.
    const rebiased = magnitude - (112 << 23);
    return sign | ((rebiased + 0x0fff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  if (magnitude <= 0x33000000) return sign; // 2^-25 and less round to zero
  // Subnormal: the mantissa with its hidden bit, shifted down to units of 2^-24.
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x007fffff) | 0x00800000;
  const floor = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (rest > half || (rest === half && (floor & 1) === 1) ? floor + 1 : floor);
}

/** Converts IEEE 754 half-precision bits [n] to float32 [n], exactly. */
export function fromFloat16(values: Uint16Array): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < out.length; i++) {
    const bits = values[i]!;
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >>> 10) & 0x1f;
    const mantissa = bits & 0x03ff;
    if (exponent === 0x1f) out[i] = mantissa === 0 ? sign * Infinity : Number.NaN;
    else if (exponent === 0) out[i] = sign * mantissa * 2 ** -24;
    else out[i] = sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
  }
  return out;
}

/** Rounds one number to the nearest bf16 value. */
export function bfloat16(value: number): number {
  scratch.setUint32(0, (bfloat16Bits(bitsOf(value)) << 16) >>> 0);
  return scratch.getFloat32(0);
}
