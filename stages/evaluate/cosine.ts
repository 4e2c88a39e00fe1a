/** The mean-centred cosines of two models' embeddings. */

/**
 * cos(model - m, reference - m) of each example, where m is the mean of the reference's embeddings. Without centring, what
 * all texts share dominates and any two models look alike (Mu and Viswanath, 2018).
 * @returns null when an embedding is at the mean, as with fewer than two examples: there is no direction to compare.
 */
export function centredCosines(
  pairs: readonly { readonly model: Float64Array; readonly reference: Float64Array }[],
): readonly number[] | null {
  const width = pairs[0]?.reference.length ?? 0;
  const mean = new Float64Array(width);
  for (const { reference } of pairs) for (let c = 0; c < width; c++) mean[c]! += reference[c]! / pairs.length;
  const cosines: number[] = [];
  for (const { model, reference } of pairs) {
    let [dot, a, b] = [0, 0, 0];
    for (let c = 0; c < width; c++) {
      const [x, y] = [model[c]! - mean[c]!, reference[c]! - mean[c]!];
      dot += x * y;
      a += x * x;
      b += y * y;
    }
    if (a === 0 || b === 0) return null;
    cosines.push(dot / Math.sqrt(a * b));
  }
  return pairs.length < 2 ? null : cosines;
}
