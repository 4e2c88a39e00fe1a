/** The core TF.js kernels that a program may hold: their operands in order, the shape of what they give, and what they refuse. */
import { elementCount, sameShape } from './buffers.ts';
import type { Attribute } from './program.ts';

type Shape = readonly number[];
type Attributes = Readonly<Record<string, Attribute>>;

/** A core kernel as the compiler sees it. */
export interface CoreKernel {
  /** Names of TF.js's operands in order, or `list` for a kernel that takes any number of them. */
  readonly operands: readonly string[] | 'list';
  /** Whether the output may take the place of the first operand. */
  readonly inPlace: boolean;
  /** How the output is stored, if not in float32. */
  readonly storage?: 'int32';
  /**
   * Brings TF.js's attributes to the form that programs hold: resolved axes and sizes, nothing that does not matter.
   * @throws Error if the attributes ask for something that programs do not hold.
   */
  attributes(given: Readonly<Record<string, unknown>>, inputs: readonly Shape[]): Attributes;
  /**
   * @returns the output's shape.
   * @throws Error if the operands do not fit each other.
   */
  shape(inputs: readonly Shape[], attributes: Attributes): Shape;
}

const noAttributes = () => ({});

/** Add, Sub, Multiply: same shapes, one element on either side, or a row [M] on the right of [.., M]. */
const elementwise: CoreKernel = {
  operands: ['a', 'b'],
  inPlace: true,
  attributes: noAttributes,
  shape: ([a, b]) => {
    if (sameShape(a!, b!) || isScalarTo(b!, a!)) return a!;
    if (isScalarTo(a!, b!)) return b!;
    if (b!.length === 1 && a!.at(-1) === b![0]) return a!;
    throw new Error(
      `cannot broadcast ${text(b!)} to ${text(a!)}: operands have one shape, or one is a scalar, or the second is a row [M]`,
    );
  },
};

const batchMatMul: CoreKernel = {
  operands: ['a', 'b'],
  inPlace: false,
  attributes: ({ transposeA, transposeB }) => ({ transposeA: transposeA === true, transposeB: transposeB === true }),
  shape: ([a, b], { transposeA, transposeB }) => {
    if (a!.length !== b!.length || (a!.length !== 2 && a!.length !== 3)) {
      throw new Error(`takes two matrices or two batches of matrices, not ${text(a!)} and ${text(b!)}`);
    }
    const rows = a!.at(transposeA ? -1 : -2)!;
    const columns = b!.at(transposeB ? -2 : -1)!;
    const batch = a!.slice(0, -2);
    if (a!.at(transposeA ? -2 : -1) !== b!.at(transposeB ? -1 : -2) || !sameShape(batch, b!.slice(0, -2))) {
      throw new Error(
        `${text(a!)}${transposeA ? ' transposed' : ''} and ${text(b!)}${transposeB ? ' transposed' : ''} do not fit`,
      );
    }
    return [...batch, rows, columns];
  },
};

const transpose: CoreKernel = {
  operands: ['x'],
  inPlace: false,
  attributes: ({ perm }) => ({ perm: numbers(perm) }),
  shape: ([x], { perm }) => numbers(perm).map((axis) => x![axis]!),
};

const reshape: CoreKernel = {
  operands: ['x'],
  inPlace: false,
  attributes: ({ shape }, [x]) => {
    const given = numbers(shape);
    const known = given.reduce((product, size) => (size < 0 ? product : product * size), 1);
    return { shape: given.map((size) => (size < 0 ? elementCount(x!) / known : size)) };
  },
  shape: ([x], { shape }) => {
    const result = numbers(shape);
    if (elementCount(result) !== elementCount(x!)) throw new Error(`${text(x!)} has no view of shape ${text(result)}`);
    return result;
  },
};

const identity: CoreKernel = { operands: ['x'], inPlace: false, attributes: noAttributes, shape: ([x]) => x! };

const cast: CoreKernel = {
  operands: ['x'],
  inPlace: false,
  attributes: ({ dtype }) => {
    if (dtype !== 'float32') throw new Error(`casts to ${dtype}: programs cast float32 to float32 alone`);
    return { dtype };
  },
  shape: ([x]) => x!,
};

const slice: CoreKernel = {
  operands: ['x'],
  inPlace: false,
  attributes: ({ begin, size }, [x]) => {
    const from = x!.map((_, axis) => numbers(begin)[axis] ?? 0);
    const sizes = x!.map((whole, axis) => {
      const asked = numbers(size)[axis] ?? -1;
      return asked < 0 ? whole - from[axis]! : asked;
    });
    return { begin: from, size: sizes };
  },
  shape: ([x], { begin, size }) => {
    const sizes = numbers(size);
    if (sizes.some((extent, axis) => numbers(begin)[axis]! + extent > x![axis]!)) {
      throw new Error(`a slice of ${text(sizes)} at ${text(numbers(begin))} leaves ${text(x!)}`);
    }
    return sizes;
  },
};

const concat: CoreKernel = {
  operands: 'list',
  inPlace: false,
  attributes: ({ axis }, [first]) => ({ axis: Number(axis) < 0 ? Number(axis) + first!.length : Number(axis) }),
  shape: (inputs, { axis }) => {
    const along = Number(axis);
    const others = (shape: Shape) => shape.toSpliced(along, 1);
    const odd = inputs.find((shape) => !sameShape(others(shape), others(inputs[0]!)));
    if (odd !== undefined) throw new Error(`cannot join ${text(odd)} to ${text(inputs[0]!)} along axis ${along}`);
    return inputs[0]!.with(
      along,
      inputs.reduce((total, shape) => total + shape[along]!, 0),
    );
  },
};

const sum: CoreKernel = {
  operands: ['x'],
  inPlace: false,
  attributes: ({ axis, keepDims }, [x]) => {
    if (keepDims === true) throw new Error('keeps its axes: programs hold sums that drop them; reshape the result');
    const axes = axis === undefined || axis === null ? x!.map((_, index) => index) : [axis].flat().map(Number);
    return { axis: axes.map((each) => (each < 0 ? each + x!.length : each)), keepDims: false };
  },
  shape: ([x], { axis }) => x!.filter((_, index) => !numbers(axis).includes(index)),
};

/** Along the last axis; the first of equals, as in TF.js. */
const argMax: CoreKernel = {
  operands: ['x'],
  inPlace: false,
  storage: 'int32',
  attributes: ({ axis }, [x]) => {
    const [along, ...others] = [axis]
      .flat()
      .map((each) => (Number(each) < 0 ? Number(each) + x!.length : Number(each)));
    if (along !== x!.length - 1 || others.length > 0)
      throw new Error(`looks along axis ${axis} of ${text(x!)}: programs look along the last axis`);
    return { axis: along };
  },
  shape: ([x]) => x!.slice(0, -1),
};

const KERNELS: Readonly<Record<string, CoreKernel>> = {
  Add: elementwise,
  Sub: elementwise,
  Multiply: elementwise,
  BatchMatMul: batchMatMul,
  Transpose: transpose,
  Reshape: reshape,
  Identity: identity,
  Cast: cast,
  Slice: slice,
  Concat: concat,
  Sum: sum,
  ArgMax: argMax,
};

/** Names of the core kernels that a program may hold. `Fill` may be traced too: it becomes a constant. */
export const coreKernelNames: readonly string[] = Object.keys(KERNELS);

/** @returns the core kernel of this name, if programs may hold it. */
export function coreKernel(name: string): CoreKernel | undefined {
  return Object.hasOwn(KERNELS, name) ? KERNELS[name] : undefined;
}

/** Whether a tensor of one element takes on the shape of the other operand. */
function isScalarTo(shape: Shape, other: Shape): boolean {
  return elementCount(shape) === 1 && shape.length <= other.length;
}

function numbers(value: unknown): readonly number[] {
  return typeof value === 'number' ? [value] : (value as readonly number[]);
}

function text(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}
