/** Who gets the many bits: families in order of what a weight of theirs costs, while the budget lasts. */
import type { Family } from '../../model/gpt2.ts';

/** A family, and how much its quantization raises the held-out loss per million weights. */
export interface Sensitive {
  readonly family: Family;
  readonly weights: number;
  readonly perMillion: number;
}

export interface Budget {
  readonly order: 'most' | 'least';
  readonly high: number;
  readonly low: number;
  /** The most bits a weight, on average. */
  readonly budget: number;
}

/**
 * Goes through the families by loss per weight, from the most sensitive (or the least), and gives each the many bits if the mean
 * then stays within the budget. A family that is too large for what is left is passed over, a smaller one after it is not.
 */
export function chooseBits(
  measured: readonly Sensitive[],
  { order, high, low, budget }: Budget,
): { readonly bits: Readonly<Partial<Record<Family, number>>>; readonly meanBits: number } {
  const all = measured.reduce((sum, { weights }) => sum + weights, 0);
  const sign = order === 'most' ? -1 : 1;
  const chosen = new Set<Family>();
  let mean = low;
  for (const { family, weights } of measured.toSorted((a, b) => sign * (a.perMillion - b.perMillion))) {
    const then = mean + ((high - low) * weights) / all;
    if (then > budget + 1e-9) continue;
    chosen.add(family);
    mean = then;
  }
  const bits = Object.fromEntries(measured.map(({ family }) => [family, chosen.has(family) ? high : low]));
  return { bits, meanBits: mean };
}
