/**
 * A low-rank update of some columns of a linear map's output (LoRA: Hu et al. 2021, section 4.1), and its gradients: two
 * thin products, of which the hidden between them is kept. Several families of one matrix (queries and values of a fused
 * map, say) share both products: their A lie one below the other, their B too, and each has its own columns of the hidden.
 */
import { type Tensor, tf } from '../tf.ts';
import { defineKernel, expectShape, runKernel, type Shape } from './kernel.ts';

/** Where the families' columns of the output begin; all families are equally wide. */
type Placement = { offsets: number[] };
type Scale = { scale: number };

/** One family's part of the operands: its columns of y and of u, its rows of b. */
interface Part {
  readonly column: number;
  readonly first: number;
  readonly row: number;
}

function parts(offsets: readonly number[], width: number, rank: number): Part[] {
  return offsets.map((column, i) => ({ column, first: i * rank, row: i * width }));
}

/** Width and rank of each family, given how wide all are together. @throws Error where they do not divide or leave y. */
function sizesOf(kernel: string, y: Shape, hidden: number, widthOfAll: number, offsets: readonly number[]) {
  const [width, rank] = [widthOfAll / offsets.length, hidden / offsets.length];
  if (!Number.isInteger(width) || !Number.isInteger(rank)) {
    throw new Error(
      `${kernel}: ${offsets.length} families do not share ${widthOfAll} rows of b and ${hidden} columns of the hidden equally`,
    );
  }
  const outside = offsets.find((offset) => offset < 0 || offset + width > y[1]!);
  if (outside !== undefined) {
    throw new Error(`${kernel}: columns ${outside} to ${outside + width} lie outside y, which has ${y[1]}`);
  }
  return { width, rank };
}

export const loraHiddenKernel = defineKernel<Scale>()({
  name: 'LoraHidden',
  operands: ['x', 'a'],
  shape({ x, a }) {
    expectShape('LoraHidden', 'a', a, [null, x[1]!]);
    return [x[0]!, a[0]!];
  },
  composite: ({ x, a }, { scale }) => tf.mul(tf.matMul(x, a, false, true), scale),
  gradient: {
    saves: ['x', 'a'],
    of: (du, { x, a }, { scale }) => ({
      x: () => runKernel(loraBackwardInputKernel, { du, a }, { scale }),
      a: () => runKernel(loraBackwardAKernel, { du, x }, { scale }),
    }),
  },
});

export const loraUpdateKernel = defineKernel<Placement>()({
  name: 'LoraUpdate',
  operands: ['y', 'u', 'b'],
  shape({ y, u, b }, { offsets }) {
    const { rank } = sizesOf('LoraUpdate', y, u[1]!, b[0]!, offsets);
    expectShape('LoraUpdate', 'u', u, [y[0]!, null]);
    expectShape('LoraUpdate', 'b', b, [null, rank]);
    return [...y];
  },
  composite({ y, u, b }, { offsets }) {
    const [width, rank] = [b.shape[0]! / offsets.length, b.shape[1]!];
    return parts(offsets, width, rank).reduce((sum: Tensor, { column, first, row }) => {
      const update = tf.matMul(tf.slice(u, [0, first], [-1, rank]), tf.slice(b, [row, 0], [width, -1]), false, true);
      const after = y.shape[1]! - column - width;
      return tf.add(
        sum,
        tf.pad(update, [
          [0, 0],
          [column, after],
        ]),
      );
    }, y);
  },
  gradient: {
    saves: ['u', 'b'],
    of: (dy, { u, b }, { offsets }) => ({
      y: () => tf.clone(dy),
      u: () => runKernel(loraBackwardHiddenKernel, { dy, b }, { offsets }),
      b: () => runKernel(loraBackwardBKernel, { dy, u }, { offsets, width: b.shape[0]! / offsets.length }),
    }),
  },
  inPlace: 'y',
});

export const loraBackwardHiddenKernel = defineKernel<Placement>()({
  name: 'LoraBackwardHidden',
  operands: ['dy', 'b'],
  shape({ dy, b }, { offsets }) {
    const hidden = b[1]! * offsets.length;
    sizesOf('LoraBackwardHidden', dy, hidden, b[0]!, offsets);
    return [dy[0]!, hidden];
  },
  composite({ dy, b }, { offsets }) {
    const [width, rank] = [b.shape[0]! / offsets.length, b.shape[1]!];
    const all = parts(offsets, width, rank).map(({ column, row }) =>
      tf.matMul(tf.slice(dy, [0, column], [-1, width]), tf.slice(b, [row, 0], [width, -1])),
    );
    return tf.concat(all, 1);
  },
});

export const loraBackwardBKernel = defineKernel<Placement & { width: number }>()({
  name: 'LoraBackwardB',
  operands: ['dy', 'u'],
  shape({ dy, u }, { offsets, width }) {
    const { rank } = sizesOf('LoraBackwardB', dy, u[1]!, width * offsets.length, offsets);
    return [width * offsets.length, rank];
  },
  composite({ dy, u }, { offsets, width }) {
    const rank = u.shape[1]! / offsets.length;
    const all = parts(offsets, width, rank).map(({ column, first }) =>
      tf.matMul(tf.slice(dy, [0, column], [-1, width]), tf.slice(u, [0, first], [-1, rank]), true, false),
    );
    return tf.concat(all, 0);
  },
});

export const loraBackwardAKernel = defineKernel<Scale>()({
  name: 'LoraBackwardA',
  operands: ['du', 'x'],
  shape({ du, x }) {
    expectShape('LoraBackwardA', 'x', x, [du[0]!, null]);
    return [du[1]!, x[1]!];
  },
  composite: ({ du, x }, { scale }) => tf.mul(tf.matMul(du, x, true, false), scale),
});

export const loraBackwardInputKernel = defineKernel<Scale>()({
  name: 'LoraBackwardInput',
  operands: ['du', 'a'],
  shape({ du, a }) {
    expectShape('LoraBackwardInput', 'a', a, [du[1]!, null]);
    return [du[0]!, a[1]!];
  },
  composite: ({ du, a }, { scale }) => tf.mul(tf.matMul(du, a), scale),
});

/**
 * y with scale (x Aᵢᵀ) Bᵢᵀ added to its columns offsets[i] .. offsets[i] + width, for each family i.
 * @param y [N, out]
 * @param x [N, in]
 * @param a [families * rank, in]: the Aᵢ one below the other.
 * @param b [families * width, rank]: the Bᵢ one below the other.
 */
export function loraMatMul(y: Tensor, x: Tensor, a: Tensor, b: Tensor, { scale, offsets }: Scale & Placement): Tensor {
  return runKernel(loraUpdateKernel, { y, u: runKernel(loraHiddenKernel, { x, a }, { scale }), b }, { offsets });
}
