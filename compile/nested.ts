/** Calls whose matrix has scales in codes: what the pass nested_scales.ts puts after their operands. */
import type { Call } from './program.ts';

/** Operands without those that foldNestedScales put after them. */
export function withoutNested<T>(kernel: string, operands: readonly T[], attributes: Call['attributes']): readonly T[] {
  return kernel.startsWith('Nf4MatMul') && attributes.nestedBlock !== undefined ? operands.slice(0, -3) : operands;
}
