/** Counts the faults that the tests of one file inject, by kind, and prints the count when they are over. */
import { afterAll } from 'vitest';

/** @returns what notes that faults of a kind were injected and their consequences looked at. */
export function openLedger(file: string): (kind: string, faults?: number) => void {
  const counts = new Map<string, number>();
  afterAll(() => {
    const total = [...counts.values()].reduce((sum, faults) => sum + faults, 0);
    const kinds = [...counts].map(([kind, faults]) => `\n  ${String(faults).padStart(6)} ${kind}`);
    console.log(`${total} faults injected by ${file}:${kinds.join('')}`);
  });
  return (kind, faults = 1) => counts.set(kind, (counts.get(kind) ?? 0) + faults);
}
