/** The model's formulas in plain float64 loops: an oracle that shares nothing with TF.js. Matrices are row-major arrays. */

/** x [N, K], weight [M, K], bias [M] -> [N, M]. */
export function linear64(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  bias: ArrayLike<number> | undefined,
  K: number,
): Float64Array {
  const N = x.length / K;
  const M = weight.length / K;
  const y = new Float64Array(N * M);
  for (let n = 0; n < N; n++)
    for (let m = 0; m < M; m++) {
      let sum = bias?.[m] ?? 0;
      for (let k = 0; k < K; k++) sum += x[n * K + k]! * weight[m * K + k]!;
      y[n * M + m] = sum;
    }
  return y;
}

/** x [N, C] normalized over C. */
export function layerNorm64(
  x: ArrayLike<number>,
  gain: ArrayLike<number>,
  bias: ArrayLike<number>,
  epsilon: number,
): Float64Array {
  const C = gain.length;
  const y = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += C) {
    let mean = 0;
    for (let c = 0; c < C; c++) mean += x[row + c]! / C;
    let variance = 0;
    for (let c = 0; c < C; c++) variance += (x[row + c]! - mean) ** 2 / C;
    for (let c = 0; c < C; c++)
      y[row + c] = ((x[row + c]! - mean) / Math.sqrt(variance + epsilon)) * gain[c]! + bias[c]!;
  }
  return y;
}

export function gelu64(x: ArrayLike<number>): Float64Array {
  return Float64Array.from(x, (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))));
}

/** qkv [B, T, 3C] -> [B, T, C]. */
export function attention64(qkv: ArrayLike<number>, B: number, T: number, C: number, heads: number): Float64Array {
  const size = C / heads;
  const y = new Float64Array(B * T * C);
  const at = (b: number, t: number, part: number, head: number, i: number) =>
    qkv[(b * T + t) * 3 * C + part * C + head * size + i]!;
  for (let b = 0; b < B; b++)
    for (let head = 0; head < heads; head++)
      for (let t = 0; t < T; t++) {
        const weights: number[] = [];
        for (let s = 0; s <= t; s++) {
          let score = 0;
          for (let i = 0; i < size; i++) score += at(b, t, 0, head, i) * at(b, s, 1, head, i);
          weights.push(Math.exp(score / Math.sqrt(size)));
        }
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        for (let i = 0; i < size; i++) {
          let mixed = 0;
          for (let s = 0; s <= t; s++) mixed += (weights[s]! / total) * at(b, s, 2, head, i);
          y[(b * T + t) * C + head * size + i] = mixed;
        }
      }
  return y;
}

/** Each row's log softmax at its target; 0 where the target is negative. */
export function tokenLogProbs64(
  hidden: ArrayLike<number>,
  table: ArrayLike<number>,
  targets: ArrayLike<number>,
  C: number,
): Float64Array {
  const logits = linear64(hidden, table, undefined, C);
  const V = table.length / C;
  return Float64Array.from(targets, (target, n) => {
    if (target < 0) return 0;
    const row = logits.subarray(n * V, (n + 1) * V);
    return row[target]! - Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
  });
}

export function crossEntropy64(
  hidden: ArrayLike<number>,
  table: ArrayLike<number>,
  targets: ArrayLike<number>,
  C: number,
): number {
  const count = Array.from(targets).filter((target) => target >= 0).length;
  const total = tokenLogProbs64(hidden, table, targets, C).reduce((sum, logProb) => sum - logProb, 0);
  return count === 0 ? 0 : total / count;
}

/** y [N, M] with scale (x aᵀ) bᵀ added to its columns from `offset` on. */
export function lora64(
  y: ArrayLike<number>,
  x: ArrayLike<number>,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  sizes: { rank: number; inFeatures: number; outFeatures: number; scale: number; offset: number },
): Float64Array {
  const { rank, inFeatures, outFeatures, scale, offset } = sizes;
  const update = linear64(linear64(x, a, undefined, inFeatures), b, undefined, rank);
  const width = b.length / rank;
  return Float64Array.from(y, (value, i) => {
    const column = (i % outFeatures) - offset;
    return column < 0 || column >= width
      ? value
      : value + scale * update[Math.floor(i / outFeatures) * width + column]!;
  });
}

/** table [V, C], ids [N] -> [N, C]. */
export function embedding64(table: ArrayLike<number>, ids: ArrayLike<number>, C: number): Float64Array {
  return Float64Array.from({ length: ids.length * C }, (_, i) => table[ids[Math.floor(i / C)]! * C + (i % C)]!);
}

/**
 * The gradient of f at x by central differences in float64. With h = 1e-4 the truncation error is about h² and the
 * rounding error about 1e-16 / h: both far below what float32 can resolve.
 */
export function differentiate(f: (x: Float64Array) => number, x: ArrayLike<number>): Float64Array {
  const h = 1e-4;
  const at = Float64Array.from(x);
  return at.map((value, i) => {
    at[i] = value + h;
    const above = f(at);
    at[i] = value - h;
    const below = f(at);
    at[i] = value;
    return (above - below) / (2 * h);
  });
}

/** The largest difference between two arrays, relative to the largest magnitude in `expected`. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Infinity;
  let largest = 0;
  let difference = 0;
  for (let i = 0; i < expected.length; i++) {
    largest = Math.max(largest, Math.abs(expected[i]!));
    const d = Math.abs(actual[i]! - expected[i]!);
    if (Number.isNaN(d)) return Infinity;
    difference = Math.max(difference, d);
  }
  return difference === 0 ? 0 : difference / largest;
}

/** The sum of products: a scalar of a tensor-valued function, with a fixed random direction, so that its whole Jacobian counts. */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** What CompareLogits tells of one row: see model/kernels/compare_logits.ts. */
export function compareLogits64(logits: ArrayLike<number>, reference: ArrayLike<number>, target: number) {
  if (target < 0) return { logProb: 0, top: 0, referenceTop: 0, referenceMargin: 0, kl: 0 };
  const [mine, theirs] = [Array.from(logits), Array.from(reference)];
  const logProbsOf = (row: readonly number[]) => {
    const largest = Math.max(...row);
    const total = row.reduce((sum, x) => sum + Math.exp(x - largest), 0);
    return row.map((x) => x - largest - Math.log(total));
  };
  const [p, q] = [logProbsOf(theirs), logProbsOf(mine)];
  const [first, second] = theirs.toSorted((a, b) => b - a) as [number, number];
  return {
    logProb: q[target]!,
    top: mine.indexOf(Math.max(...mine)),
    referenceTop: theirs.indexOf(first),
    referenceMargin: first - second,
    kl: p.reduce((sum, logP, v) => sum + Math.exp(logP) * (logP - q[v]!), 0),
  };
}
