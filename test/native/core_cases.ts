/** TensorFlow.js's core kernels, element by element. */
import { type Attributes, float32, floats, type KernelCase, type Operand, size } from './case.ts';

const operations = {
  Add: (a: number, b: number) => a + b,
  Sub: (a: number, b: number) => a - b,
  Multiply: (a: number, b: number) => a * b,
};

function arithmetic(label: string, a: Operand, b: Operand, inPlace?: number): KernelCase[] {
  const output = size(a.shape) >= size(b.shape) ? a.shape : b.shape;
  return Object.entries(operations).map(([kernel, f]) => ({
    kernel,
    label,
    operands: [a, b],
    attributes: {},
    output,
    expected: Array.from({ length: size(output) }, (_, i) =>
      Math.fround(f(a.data[i % a.data.length]!, b.data[i % b.data.length]!)),
    ),
    tolerance: 0,
    ...(inPlace === undefined ? {} : { inPlace }),
  }));
}

/** Every index of a shape, in order. */
function indices(shape: readonly number[]): number[][] {
  return shape.reduce<number[][]>(
    (all, extent) => all.flatMap((index) => Array.from({ length: extent }, (_, i) => [...index, i])),
    [[]],
  );
}

function element(x: Operand, index: readonly number[]): number {
  return x.data[index.reduce((offset, i, axis) => offset * x.shape[axis]! + i, 0)]!;
}

/** An output each of whose elements is one of x's. */
function moved(
  kernel: string,
  x: Operand,
  attributes: Attributes,
  output: readonly number[],
  from: (index: number[]) => number[],
): KernelCase {
  const expected = indices(output).map((index) => element(x, from(index)));
  return {
    kernel,
    label: `${x.shape} ${JSON.stringify(attributes)}`,
    operands: [x],
    attributes,
    output,
    expected,
    tolerance: 0,
  };
}

function transpose(shape: readonly number[], perm: readonly number[]): KernelCase {
  const output = perm.map((axis) => shape[axis]!);
  return moved('Transpose', floats(shape), { perm }, output, (index) =>
    shape.map((_, axis) => index[perm.indexOf(axis)]!),
  );
}

function slice(shape: readonly number[], begin: readonly number[], extents: readonly number[]): KernelCase {
  return moved('Slice', floats(shape), { begin, size: extents }, extents, (index) =>
    index.map((i, axis) => i + begin[axis]!),
  );
}

function concat(parts: readonly (readonly number[])[], axis: number): KernelCase {
  const operands = parts.map((shape) => floats(shape));
  const output = parts[0]!.with(
    axis,
    parts.reduce((sum, shape) => sum + shape[axis]!, 0),
  );
  const expected = indices(output).map((index) => {
    let along = index[axis]!;
    for (const operand of operands) {
      if (along < operand.shape[axis]!) return element(operand, index.with(axis, along));
      along -= operand.shape[axis]!;
    }
    throw new Error('unreachable');
  });
  return { kernel: 'Concat', label: `axis ${axis}`, operands, attributes: { axis }, output, expected, tolerance: 0 };
}

function sum(shape: readonly number[], axis: readonly number[]): KernelCase {
  const x = floats(shape);
  const output = shape.filter((_, i) => !axis.includes(i));
  const totals = new Map<string, number>();
  for (const index of indices(shape)) {
    const key = index.filter((_, i) => !axis.includes(i)).join();
    totals.set(key, (totals.get(key) ?? 0) + element(x, index));
  }
  const expected = indices(output).map((index) => totals.get(index.join())!);
  return {
    kernel: 'Sum',
    label: `${shape} over ${axis}`,
    operands: [x],
    attributes: { axis },
    output,
    expected,
    tolerance: 2e-6,
  };
}

function argMax(label: string, x: Operand): KernelCase {
  const columns = x.shape.at(-1)!;
  const output = x.shape.slice(0, -1);
  const places = Array.from({ length: size(output) }, (_, row) => {
    const values = [...x.data.subarray(row * columns, (row + 1) * columns)];
    return values.indexOf(Math.max(...values));
  });
  const attributes = { axis: output.length };
  return {
    kernel: 'ArgMax',
    label,
    operands: [x],
    attributes,
    output,
    expected: places,
    storage: 'int32',
    tolerance: 0,
  };
}

function copies(n: number): KernelCase[] {
  const x = floats([n]);
  return ['Identity', 'Reshape', 'Cast'].map((kernel) => ({
    kernel,
    label: `${n} elements`,
    operands: [x],
    attributes: {},
    output: [n],
    expected: x.data,
    tolerance: 0,
  }));
}

export function coreCases(): KernelCase[] {
  return [
    ...arithmetic('same shape', floats([33, 3001]), floats([33, 3001])),
    ...arithmetic('same shape, over a', floats([65]), floats([65]), 0),
    ...arithmetic('same shape, over b', floats([65]), floats([65]), 1),
    ...arithmetic('a scalar on the right', floats([5, 7]), float32([], [0.3])),
    ...arithmetic('a scalar on the left', float32([1], [0.3]), floats([5, 7])),
    ...arithmetic('a row', floats([3, 900, 37]), floats([37])),
    ...arithmetic('a row, over a', floats([40, 37]), floats([37]), 0),
    ...arithmetic('a row on the left', floats([1, 37]), floats([40, 37])),
    ...copies(100_001),
    transpose([5, 9], [1, 0]),
    transpose([2, 3, 4, 5], [0, 2, 1, 3]),
    transpose([2, 3, 4, 5], [3, 0, 2, 1]),
    slice([7], [2], [3]),
    slice([4, 5, 6], [1, 0, 2], [2, 5, 3]),
    concat([[4], [1], [3]], 0),
    concat(
      [
        [2, 3, 4],
        [2, 1, 4],
      ],
      1,
    ),
    concat(
      [
        [2, 3, 4],
        [2, 3, 4],
        [2, 3, 1],
      ],
      2,
    ),
    sum([50, 33], [0]),
    sum([50, 33], [1]),
    sum([2000, 60], [1]),
    sum([4, 5, 6, 7], [1, 2]),
    sum([300, 301], [0, 1]),
    sum([5], []),
    argMax('rows of a vocabulary', floats([7, 50_257])),
    argMax('rows of three axes', floats([3, 5, 37])),
    argMax('one row, one element', floats([1, 1])),
    argMax('the first of equals', { ...floats([40, 1031]), data: floats([40, 1031]).data.map((x) => Math.round(x)) }),
    argMax('all equal, and all -infinity', float32([2, 600], [...Array(600).fill(1.5), ...Array(600).fill(-Infinity)])),
  ];
}
