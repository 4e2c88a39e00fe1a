/** The codebooks of quantization: NormalFloat of 2, 3, 4 and 8 bits, and the signed 8-bit dynamic map for the scales. */

/** Widths for which there is a NormalFloat codebook. */
export type Bits = 2 | 3 | 4 | 8;

/**
 * The NormalFloat codebook of 2^bits ascending entries from -1 to 1, with an exact 0 (QLoRA, Dettmers et al. 2023, section 3):
 * quantiles of the normal distribution at probabilities evenly spaced from 1 - delta down to 1/2, 2^(bits-1) of them on
 * the positive side and one fewer on the negative, divided by the largest. delta = (1/(2·2^bits) + 1/(2(2^bits - 1))) / 2
 * keeps the outermost quantiles finite; for 4 bits it is (1/32 + 1/30) / 2. The roundings are those by which the table that
 * the paper published (appendix E) comes out to the bit: 1 - delta to seven decimals, and float32 at each step.
 */
export function normalFloatCodebook(bits: Bits): Float32Array {
  const size = 2 ** bits;
  const delta = (1 / (2 * size) + 1 / (2 * (size - 1))) / 2;
  const outermost = Number((1 - delta).toFixed(7));
  const quantiles = (count: number) => Float32Array.from(evenlyDown(outermost, count), normalQuantile);
  const positive = quantiles(size / 2).reverse();
  const negative = quantiles(size / 2 - 1).map((quantile) => -quantile);
  const largest = positive.at(-1)!;
  return Float32Array.from([...negative, 0, ...positive], (quantile) => quantile / largest);
}

/** `count` probabilities, evenly spaced from `start` towards 1/2, which is not one of them; in float32, from both ends. */
function evenlyDown(start: number, count: number): number[] {
  const first = Math.fround(start);
  const step = Math.fround(Math.fround(0.5 - first) / count);
  return Array.from({ length: count }, (_, i) =>
    2 * i < count ? Math.fround(first + Math.fround(step * i)) : Math.fround(0.5 - Math.fround(step * (count - i))),
  );
}

/**
 * The signed 8-bit dynamic map (Dettmers 2016, "8-bit approximations for parallelism in deep learning"): 256 ascending
 * entries. For i = 0..6 the 2^i midpoints of the 2^i equal parts of [0.1, 1], times 10^(i-6), with both signs; and 0 and 1.
 */
export function dynamicMap(): Float32Array {
  const entries = [0, 1];
  for (let i = 0; i <= 6; i++) {
    const parts = 2 ** i;
    for (let part = 0; part < parts; part++) {
      const midpoint = (0.1 + (0.9 * (part + 0.5)) / parts) * 10 ** (i - 6);
      entries.push(midpoint, -midpoint);
    }
  }
  return Float32Array.from(entries).sort();
}

/** Codes of four bits: one threshold between each two. */
export const thresholdCount = 15;

/**
 * What tells the codes of a codebook of at most 16 ascending entries apart: the code nearest to a float32 x is the number of
 * thresholds that x is greater than. Each is the largest float32 that is not above the middle between two entries, so that x in
 * the middle itself gets the lower code; the last ones, of a smaller codebook, are infinite.
 */
export function codeThresholds(codebook: Float32Array): Float32Array {
  return Float32Array.from({ length: thresholdCount }, (_, code) => {
    const above = codebook[code + 1];
    // The sum of two float32 numbers, and half of it, are exact in float64.
    return above === undefined ? Number.POSITIVE_INFINITY : float32AtMost((codebook[code]! + above) / 2);
  });
}

function float32AtMost(value: number): number {
  const rounded = Float32Array.of(value);
  if (rounded[0]! > value) new Int32Array(rounded.buffer)[0]! += rounded[0]! > 0 ? -1 : 1;
  return rounded[0]!;
}

/** The x at which the standard normal distribution function is `probability`, for probabilities from 1/2 to 0.999. */
function normalQuantile(probability: number): number {
  let x = 0;
  // Newton's method; from the middle outwards it approaches from below and converges in a handful of steps.
  for (let step = 0; step < 20; step++) x += (probability - normalDistribution(x)) / normalDensity(x);
  return x;
}

function normalDensity(x: number): number {
  return Math.exp(-(x * x) / 2) / Math.sqrt(2 * Math.PI);
}

/** Φ(x) = 1/2 + φ(x) (x + x³/3 + x⁵/(3·5) + ...) (Abramowitz, Stegun, 26.2.11): full precision for moderate x. */
function normalDistribution(x: number): number {
  let term = x;
  let sum = x;
  for (let odd = 3; Math.abs(term) > 1e-18; odd += 2) {
    term *= (x * x) / odd;
    sum += term;
  }
  return 0.5 + normalDensity(x) * sum;
}
