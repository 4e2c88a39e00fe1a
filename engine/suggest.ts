/** Finds the name that was probably meant. */

/**
 * Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours, each costing 1.
 * @returns the distance between `a` and `b`, both compared as they are.
 */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(substitution, last[j]! + 1, row[j - 1]! + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, beforeLast[j - 2]! + 1);
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

/** @returns the known name nearest to `name`, or null when none is near enough to have been meant (a third of its letters). */
export function nearest(name: string, known: Iterable<string>): string | null {
  const wanted = name.toLowerCase();
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const lower = candidate.toLowerCase();
    if (Math.abs(lower.length - wanted.length) >= bestDistance && !lower.startsWith(wanted)) continue;
    const isPrefix = wanted.length >= 3 && lower.startsWith(wanted);
    const distance = isPrefix ? Math.min(1, editDistance(wanted, lower)) : editDistance(wanted, lower);
    if (distance < bestDistance && distance < wanted.length) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** @returns what to say after "unknown X": the nearest name, or the list of those that exist (`what` names them in the plural). */
export function suggest(name: string, known: Iterable<string>, what: string): string {
  const names = [...known];
  const near = nearest(name, names);
  if (near !== null) return `did you mean "${near}"?`;
  if (names.length === 0) return `there are no ${what} here`;
  const shown = names.slice(0, 12).join(', ');
  return `${what}: ${shown}${names.length > 12 ? `, and ${names.length - 12} more` : ''}`;
}
