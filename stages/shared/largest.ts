/** The largest whole number whose cost stays within a limit, found with few questions. */

/**
 * The largest n from 1 to `most` for which `cost(n)` is at most `limit`; 0 when 1 is too much. Costs grow with n, nearly in
 * proportion: the next n to ask for is where the line through what is known meets the limit, so a handful of questions do.
 */
export function largestWithin(cost: (n: number) => number, limit: number, most: number): number {
  let within = { n: 0, cost: 0 };
  let beyond: { n: number; cost: number } | null = null;
  for (;;) {
    const last = (beyond?.n ?? most + 1) - 1;
    if (within.n >= last) return within.n;
    const n = Math.min(last, Math.max(within.n + 1, guess(within, beyond, limit)));
    const asked = { n, cost: cost(n) };
    if (asked.cost <= limit) within = asked;
    else beyond = asked;
  }
}

type Point = { readonly n: number; readonly cost: number };

function guess(within: Point, beyond: Point | null, limit: number): number {
  if (within.n === 0) return 1;
  if (beyond === null) return Math.floor((within.n * limit) / within.cost);
  const slope = (beyond.cost - within.cost) / (beyond.n - within.n);
  return within.n + Math.floor((limit - within.cost) / slope);
}
