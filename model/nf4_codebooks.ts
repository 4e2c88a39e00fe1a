/** The codebooks of quantization: NormalFloat of 2, 3 and 4 bits, and the signed 8-bit dynamic map for the scales. */

/** Widths for which there is a NormalFloat codebook. */
export type Bits = 2 | 3 | 4;

/** NF4 as QLoRA published it (Dettmers et al. 2023, appendix E). */
const nf4 = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
];

/**
 * The NormalFloat codebook of 2^bits ascending entries from -1 to 1, with an exact 0: the published table for 4 bits, and
 * `constructNormalFloat` for 2 and 3, which the paper does not list.
 */
export function normalFloatCodebook(bits: Bits): Float32Array {
  return Float32Array.from(bits === 4 ? nf4 : constructNormalFloat(bits));
}

/**
 * The construction behind the published table, for any width (QLoRA, section 3): quantiles of the normal distribution at
 * probabilities evenly spaced from 1 - delta down to 1/2, 2^(bits-1) of them on the positive side and one fewer on the
 * negative, with a single 0 between, divided by the largest. delta = (1/(2·2^bits) + 1/(2(2^bits - 1))) / 2 keeps the
 * outermost quantiles finite; for 4 bits it is (1/32 + 1/30) / 2.
 */
export function constructNormalFloat(bits: Bits): number[] {
  const size = 2 ** bits;
  const delta = (1 / (2 * size) + 1 / (2 * (size - 1))) / 2;
  const side = (count: number) =>
    Array.from({ length: count }, (_, i) => normalQuantile(0.5 + ((0.5 - delta) * (i + 1)) / count));
  const positive = side(size / 2);
  const negative = side(size / 2 - 1)
    .map((quantile) => -quantile)
    .reverse();
  const largest = positive.at(-1)!;
  return [...negative, 0, ...positive].map((quantile) => quantile / largest);
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
