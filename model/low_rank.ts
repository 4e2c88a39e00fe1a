/**
 * Products B A of low rank, compared without ever being multiplied out: all that is asked of an [out, in] matrix follows
 * from r x r Gram matrices, in float64.
 */
import { symmetricEigen } from './symmetric_eigen.ts';

/** The matrix scale * B A, [outFeatures, inFeatures]. */
export interface LowRank {
  /** [rank, inFeatures] */
  readonly a: Float32Array;
  /** [outFeatures, rank] */
  readonly b: Float32Array;
  readonly rank: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly scale: number;
}

/** How an update differs from a reference, as whole matrices. */
export interface Difference {
  /** Frobenius norms. */
  readonly norm: number;
  readonly referenceNorm: number;
  /** |update - reference|. Its square is a difference of squares: below 1e-8 of the norms it is rounding. */
  readonly l2: number;
  /** Of the two as vectors; null where one of them is zero. */
  readonly cosine: number | null;
  /** l2 / |reference|; null where the reference is zero. */
  readonly relative: number | null;
}

/** An update's singular values and vectors in coordinates of its factors: U = B X and V = Aᵀ Z have orthonormal columns. */
interface Decomposed {
  /** Descending; those that are rounding alone are left out. */
  readonly singular: Float64Array;
  /** [rank, k] each. */
  readonly output: Float64Array;
  readonly input: Float64Array;
}

/** Singular values, and the principal angles to a reference's spaces, ascending, in degrees. */
export interface Spectra {
  readonly singular: readonly number[];
  readonly referenceSingular: readonly number[];
  /** Between the column spaces (what the updates can write). */
  readonly outputAngles: readonly number[];
  /** Between the row spaces (what the updates read). */
  readonly inputAngles: readonly number[];
}

/** Singular values below this share of the largest are rounding: Gram matrices square the condition. */
const negligible = 1e-7;

/** <P, Q> of P = s B A and Q = t D C is s t times the sum over i, j of (Bᵀ D)ij (A Cᵀ)ij. @throws RangeError for other shapes. */
export function innerProduct(p: LowRank, q: LowRank): number {
  sameShape(p, q);
  const [outputs, inputs] = [outputGram(p, q), inputGram(p, q)];
  return p.scale * q.scale * outputs.reduce((sum, x, i) => sum + x * inputs[i]!, 0);
}

/** Compares two updates of one matrix. @throws RangeError for other shapes. */
export function difference(update: LowRank, reference: LowRank): Difference {
  const squares = { update: innerProduct(update, update), reference: innerProduct(reference, reference) };
  return differenceOf(innerProduct(update, reference), squares.update, squares.reference);
}

/** Sums of inner products over several matrices, as one: that is how all layers together are compared. */
export function differenceOf(product: number, updateSquare: number, referenceSquare: number): Difference {
  const [norm, referenceNorm] = [Math.sqrt(updateSquare), Math.sqrt(referenceSquare)];
  const l2 = Math.sqrt(Math.max(0, updateSquare + referenceSquare - 2 * product));
  const directed = norm > 0 && referenceNorm > 0;
  return {
    norm,
    referenceNorm,
    l2,
    cosine: directed ? product / (norm * referenceNorm) : null,
    relative: referenceNorm > 0 ? l2 / referenceNorm : null,
  };
}

/** Singular values of both, and the angles between what they write and between what they read. */
export function spectra(update: LowRank, reference: LowRank): Spectra {
  sameShape(update, reference);
  const [mine, theirs] = [decompose(update), decompose(reference)];
  return {
    singular: [...mine.singular],
    referenceSingular: [...theirs.singular],
    outputAngles: angles(outputGram(update, reference), mine.output, theirs.output, update, reference),
    inputAngles: angles(inputGram(update, reference), mine.input, theirs.input, update, reference),
  };
}

/** <scale B A, matrix>, the matrix being [outFeatures, inFeatures] row by row. @throws RangeError for another size. */
export function productWithMatrix(p: LowRank, matrix: Float32Array): number {
  const { a, b, rank, inFeatures, outFeatures } = p;
  if (matrix.length !== inFeatures * outFeatures) throw new RangeError('the matrix is of another shape');
  let sum = 0;
  for (let o = 0; o < outFeatures; o++) {
    for (let r = 0; r < rank; r++) {
      const factor = b[o * rank + r]!;
      if (factor === 0) continue;
      let dot = 0;
      for (let i = 0; i < inFeatures; i++) dot += a[r * inFeatures + i]! * matrix[o * inFeatures + i]!;
      sum += factor * dot;
    }
  }
  return p.scale * sum;
}

/** The rows start .. end of an update, as an update of that many rows. */
export function rowsOf(p: LowRank, start: number, end: number): LowRank {
  return { ...p, b: p.b.subarray(start * p.rank, end * p.rank), outFeatures: end - start };
}

/** Whether it is zero because B is: a slice that no adapter sits on, or an adapter that was never trained. */
export function isZero({ b }: LowRank): boolean {
  return b.every((x) => x === 0);
}

function sameShape(p: LowRank, q: LowRank): void {
  if (p.inFeatures === q.inFeatures && p.outFeatures === q.outFeatures) return;
  throw new RangeError(
    `an update of [${p.outFeatures}, ${p.inFeatures}] cannot be compared with one of [${q.outFeatures}, ${q.inFeatures}]`,
  );
}

/** Bᵀ D, [p.rank, q.rank]. */
function outputGram(p: LowRank, q: LowRank): Float64Array {
  const gram = new Float64Array(p.rank * q.rank);
  for (let o = 0; o < p.outFeatures; o++) {
    for (let i = 0; i < p.rank; i++) {
      const x = p.b[o * p.rank + i]!;
      if (x === 0) continue;
      for (let j = 0; j < q.rank; j++) gram[i * q.rank + j]! += x * q.b[o * q.rank + j]!;
    }
  }
  return gram;
}

/** A Cᵀ, [p.rank, q.rank]. */
function inputGram(p: LowRank, q: LowRank): Float64Array {
  const gram = new Float64Array(p.rank * q.rank);
  for (let i = 0; i < p.rank; i++) {
    for (let j = 0; j < q.rank; j++) {
      let dot = 0;
      for (let k = 0; k < p.inFeatures; k++) dot += p.a[i * p.inFeatures + k]! * q.a[j * q.inFeatures + k]!;
      gram[i * q.rank + j] = dot;
    }
  }
  return gram;
}

/**
 * With S the root of A Aᵀ and S Bᵀ B S = W Σ² Wᵀ, the left singular vectors of B A are B S W Σ^-1: their Gram matrix is
 * Σ^-1 Wᵀ (S Bᵀ B S) W Σ^-1 = 1. The right ones likewise, from the root of Bᵀ B.
 */
function decompose(p: LowRank): Decomposed {
  const [outputs, inputs] = [outputGram(p, p), inputGram(p, p)];
  const left = oneSide(inputs, outputs, p.rank);
  const right = oneSide(outputs, inputs, p.rank);
  return { singular: left.singular.map((s) => s * p.scale), output: left.basis, input: right.basis };
}

/** Singular values, and the basis S W Σ^-1 [rank, k] of one side, from the other side's Gram matrix and its own. */
function oneSide(
  other: Float64Array,
  own: Float64Array,
  rank: number,
): { singular: Float64Array; basis: Float64Array } {
  const root = squareRoot(other, rank);
  const { values, vectors } = symmetricEigen(
    multiply(multiply(root, own, rank, rank, rank), root, rank, rank, rank),
    rank,
  );
  const singular = values.map((value) => Math.sqrt(Math.max(0, value)));
  const kept = singular.filter((s) => s > negligible * singular[0]!).length;
  const basis = new Float64Array(rank * kept);
  const turned = multiply(root, vectors, rank, rank, rank);
  for (let i = 0; i < rank; i++)
    for (let k = 0; k < kept; k++) basis[i * kept + k] = turned[i * rank + k]! / singular[k]!;
  return { singular: singular.slice(0, kept), basis };
}

function squareRoot(gram: Float64Array, n: number): Float64Array {
  const { values, vectors } = symmetricEigen(gram, n);
  const scaled = vectors.map((x, at) => x * Math.sqrt(Math.max(0, values[at % n]!)));
  return multiply(scaled, transpose(vectors, n, n), n, n, n);
}

/** Principal angles between the spans of two orthonormal bases given in coordinates (Björck and Golub, 1973). */
function angles(
  gram: Float64Array,
  mine: Float64Array,
  theirs: Float64Array,
  { rank: p }: LowRank,
  { rank: q }: LowRank,
): readonly number[] {
  const [k, l] = [mine.length / p, theirs.length / q];
  const cross = multiply(multiply(transpose(mine, p, k), gram, k, p, q), theirs, k, q, l);
  const least = Math.min(k, l);
  const { values } = symmetricEigen(multiply(transpose(cross, k, l), cross, l, k, l), l);
  return [...values.subarray(0, least)].map(
    (value) => (Math.acos(Math.min(1, Math.sqrt(Math.max(0, value)))) * 180) / Math.PI,
  );
}

/** [n, m] times [m, l]. */
function multiply(a: Float64Array, b: Float64Array, n: number, m: number, l: number): Float64Array {
  const c = new Float64Array(n * l);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < m; k++) {
      const x = a[i * m + k]!;
      for (let j = 0; j < l; j++) c[i * l + j]! += x * b[k * l + j]!;
    }
  }
  return c;
}

function transpose(a: Float64Array, n: number, m: number): Float64Array {
  return Float64Array.from(a, (_, at) => a[(at % n) * m + Math.floor(at / n)]!);
}
