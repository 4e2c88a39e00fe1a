/** Linear maps: products in float64, written out. */
import { type Attributes, float32, floats, halves, type KernelCase, type Operand, size } from './case.ts';

/** A matrix in float64, read by row and column. */
type Matrix = { rows: number; columns: number; at(i: number, j: number): number };

function matrix(operand: Operand): Matrix {
  const columns = operand.shape.at(-1)!;
  const data = Float64Array.from(operand.data);
  return { rows: data.length / columns, columns, at: (i, j) => data[i * columns + j]! };
}

function transposed(m: Matrix): Matrix {
  return { rows: m.columns, columns: m.rows, at: (i, j) => m.at(j, i) };
}

function product(a: Matrix, b: Matrix): Matrix {
  const data = new Float64Array(a.rows * b.columns);
  const row = new Float64Array(b.columns);
  for (let i = 0; i < a.rows; i++) {
    row.fill(0);
    for (let k = 0; k < a.columns; k++) {
      const x = a.at(i, k);
      for (let j = 0; j < b.columns; j++) row[j]! += x * b.at(k, j);
    }
    data.set(row, i * b.columns);
  }
  return { rows: a.rows, columns: b.columns, at: (i, j) => data[i * b.columns + j]! };
}

/** The elements, row by row, with f applied. */
function list(m: Matrix, f: (x: number, row: number, column: number) => number = (x) => x): Float64Array {
  return Float64Array.from({ length: m.rows * m.columns }, (_, e) => {
    const [i, j] = [Math.floor(e / m.columns), e % m.columns];
    return f(m.at(i, j), i, j);
  });
}

const tolerance = 2e-6;

function linear(label: string, x: Operand, w: Operand, bias?: Operand): KernelCase {
  const y = product(matrix(x), transposed(matrix(w)));
  return {
    kernel: 'Linear',
    label,
    operands: bias === undefined ? [x, w] : [x, w, bias],
    attributes: {},
    output: [...x.shape.slice(0, -1), y.columns],
    expected: list(y, (value, _, j) => value + (bias?.data[j] ?? 0)),
    tolerance,
  };
}

/** The same, added to something. */
function added(test: KernelCase): KernelCase[] {
  const operand = floats(test.output);
  const sum: KernelCase = {
    ...test,
    label: `${test.label}, added`,
    operands: [...test.operands, operand],
    expected: Array.from(test.expected, (value, i) => value + operand.data[i]!),
  };
  return [sum, { ...sum, label: `${sum.label} in place`, inPlace: test.operands.length }];
}

function backward(label: string, N: number, M: number, K: number, w: Operand): KernelCase[] {
  const dy = floats([N, M]);
  const x = floats([N, K]);
  const common = { label, attributes: {}, tolerance };
  const input: KernelCase = {
    ...common,
    kernel: 'LinearBackwardInput',
    operands: [dy, w],
    output: [N, K],
    expected: list(product(matrix(dy), matrix(w))),
  };
  return [
    input,
    ...added(input),
    {
      ...common,
      kernel: 'LinearBackwardWeight',
      operands: [dy, x],
      output: [M, K],
      expected: list(product(transposed(matrix(dy)), matrix(x))),
    },
    {
      ...common,
      kernel: 'ColumnSum',
      operands: [dy],
      output: [M],
      expected: list(product({ rows: 1, columns: N, at: () => 1 }, matrix(dy))),
    },
  ];
}

/** Two thin products and their gradients, for families whose columns begin at `offsets`. */
function lora(
  label: string,
  shape: { N: number; M: number; K: number; rank: number; width: number; offsets: readonly number[] },
): KernelCase[] {
  const { N, M, K, rank, width, offsets } = shape;
  const scale = 1.5;
  const R = offsets.length * rank;
  const [x, a, u, y, dy] = [floats([N, K]), floats([R, K]), floats([N, R]), floats([N, M]), floats([N, M])];
  const b = floats([offsets.length * width, rank]);
  /** b as the matrix [M, R] that it stands for, zero outside the families' rows and columns. */
  const whole: Matrix = {
    rows: M,
    columns: R,
    at: (row, column) => {
      const i = Math.floor(column / rank);
      const own = row - offsets[i]!;
      return own < 0 || own >= width ? 0 : b.data[(i * width + own) * rank + (column % rank)]!;
    },
  };
  const update = product(matrix(u), transposed(whole));
  const db = product(transposed(matrix(dy)), matrix(u));
  const common = { label, tolerance };
  const updated: KernelCase = {
    ...common,
    kernel: 'LoraUpdate',
    operands: [y, u, b],
    attributes: { offsets },
    output: [N, M],
    expected: list(matrix(y), (value, i, j) => value + update.at(i, j)),
  };
  return [
    {
      ...common,
      kernel: 'LoraHidden',
      operands: [x, a],
      attributes: { scale },
      output: [N, R],
      expected: list(product(matrix(x), transposed(matrix(a))), (value) => scale * value),
    },
    updated,
    { ...updated, label: `${label}, in place`, inPlace: 0 },
    {
      ...common,
      kernel: 'LoraBackwardHidden',
      operands: [dy, b],
      attributes: { offsets },
      output: [N, R],
      expected: list(product(matrix(dy), whole)),
    },
    {
      ...common,
      kernel: 'LoraBackwardB',
      operands: [dy, u],
      attributes: { offsets, width },
      output: [offsets.length * width, rank],
      expected: offsets.flatMap((offset, i) =>
        Array.from({ length: width * rank }, (_, e) => db.at(offset + Math.floor(e / rank), i * rank + (e % rank))),
      ),
    },
    {
      ...common,
      kernel: 'LoraBackwardA',
      operands: [u, x],
      attributes: { scale },
      output: [R, K],
      expected: list(product(transposed(matrix(u)), matrix(x)), (value) => scale * value),
    },
    {
      ...common,
      kernel: 'LoraBackwardInput',
      operands: [u, a],
      attributes: { scale },
      output: [N, K],
      expected: list(product(matrix(u), matrix(a)), (value) => scale * value),
    },
  ];
}

function batched(
  label: string,
  batch: number | null,
  m: number,
  n: number,
  k: number,
  attributes: Attributes,
): KernelCase {
  const prefix = batch === null ? [] : [batch];
  const a = floats([...prefix, ...(attributes.transposeA ? [k, m] : [m, k])]);
  const b = floats([...prefix, ...(attributes.transposeB ? [n, k] : [k, n])]);
  const part = (operand: Operand, i: number): Operand => {
    const shape = operand.shape.slice(-2);
    return float32(shape, operand.data.slice(i * size(shape), (i + 1) * size(shape)));
  };
  const expected = Array.from({ length: batch ?? 1 }, (_, i) => {
    const left = matrix(part(a, i));
    const right = matrix(part(b, i));
    const result = product(
      attributes.transposeA ? transposed(left) : left,
      attributes.transposeB ? transposed(right) : right,
    );
    return [...list(result)];
  }).flat();
  return { kernel: 'BatchMatMul', label, operands: [a, b], attributes, output: [...prefix, m, n], expected, tolerance };
}

/** Sizes with tails in every dimension, above and below the sizes at which work is blocked and cut for threads. */
export function linearCases(): KernelCase[] {
  const transpositions = [false, true].flatMap((transposeA) =>
    [false, true].map((transposeB) => ({ transposeA, transposeB })),
  );
  return [
    linear('one element', floats([1, 1]), floats([1, 1]), floats([1])),
    linear('no bias', floats([37, 65]), floats([29, 65])),
    linear('batch and time', floats([3, 11, 64]), floats([96, 64]), floats([96])),
    linear('bf16', floats([131, 77]), halves([45, 77]), halves([45])),
    linear('more than one block each way', floats([130, 270]), floats([530, 270]), floats([530])),
    linear('bf16, more than one block each way', floats([20, 530]), halves([1100, 530]), halves([1100])),
    ...added(linear('tails', floats([133, 270]), halves([530, 270]), halves([530]))),
    ...added(linear('few rows', floats([3, 270]), floats([53, 270]), floats([53]))),
    linear('tall', floats([3000, 31]), floats([37, 31]), floats([37])),
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((rows) =>
      linear(`${rows} rows`, floats([rows, 277]), halves([61, 277]), floats([61])),
    ),
    linear('few rows, cut for threads', floats([8, 531]), halves([1037, 531])),
    ...backward('small', 7, 5, 3, floats([5, 3])),
    ...backward('tails', 133, 97, 301, floats([97, 301])),
    ...backward('bf16, many rows', 3000, 150, 11, halves([150, 11])),
    ...lora('inner columns', { N: 70, M: 90, K: 33, rank: 5, width: 30, offsets: [31] }),
    ...lora('all columns', { N: 1520, M: 100, K: 100, rank: 8, width: 100, offsets: [0] }),
    ...lora('two of three families', { N: 150, M: 96, K: 72, rank: 4, width: 32, offsets: [0, 64] }),
    ...lora('three families, many ranks', { N: 33, M: 600, K: 40, rank: 17, width: 200, offsets: [0, 200, 400] }),
    ...lora('few rows', { N: 2, M: 6, K: 40, rank: 2, width: 2, offsets: [4] }),
    ...transpositions.flatMap((transposition) => [
      batched(`matrices ${JSON.stringify(transposition)}`, null, 127, 70, 261, transposition),
      batched(`few rows ${JSON.stringify(transposition)}`, null, 5, 35, 300, transposition),
      batched(`batch ${JSON.stringify(transposition)}`, 5, 13, 21, 34, transposition),
    ]),
  ];
}
