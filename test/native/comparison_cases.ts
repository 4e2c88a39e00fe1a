/** The comparison of logits in float64. */
import { comparedColumns } from '../../model/kernels/compare_logits.ts';
import { compareLogits64 } from '../support/float64.ts';
import { floats, int32, type KernelCase, naturals, type Operand } from './case.ts';

function comparison(label: string, targets: number[], logits: Operand, reference: Operand): KernelCase {
  const [N, V] = logits.shape as [number, number];
  const rowOf = ({ data }: Operand, row: number) => data.subarray(row * V, (row + 1) * V) as Float32Array;
  const expected = targets.map((target, row) => compareLogits64(rowOf(logits, row), rowOf(reference, row), target));
  return {
    kernel: 'CompareLogits',
    label,
    operands: [logits, reference, int32([N], targets)],
    attributes: {},
    output: [N, comparedColumns.length],
    expected: expected.flatMap((row) => comparedColumns.map((column) => row[column])),
    tolerance: 5e-7,
  };
}

export function comparisonCases(): KernelCase[] {
  const some = (N: number, V: number) => naturals(N, V).map((target, n) => (n % 3 === 1 ? -1 : target));
  const near = (from: Operand): Operand => ({
    ...from,
    data: Float32Array.from(from.data, (x, i) => x + 0.01 * Math.sin(i)),
  });
  const sharp = floats([40, 5003], 30);
  const equal: Operand = { ...floats([2, 37]), data: new Float32Array(74).fill(1.5) };
  return [
    comparison('two models', some(30, 301), floats([30, 301], 5), floats([30, 301], 5)),
    comparison('a model and nearly the same, cut for threads', some(40, 5003), near(sharp), sharp),
    comparison('every logit equal', [36, -1], equal, equal),
    comparison('two logits', [1, 0, 1], floats([3, 2], 4), floats([3, 2], 4)),
  ];
}
