/** Eigenvalues and eigenvectors of small symmetric matrices, in float64 (Jacobi's method). */

export interface Eigen {
  /** [n], descending. */
  readonly values: Float64Array;
  /** [n, n] row by row: column k is the unit eigenvector of value k. */
  readonly vectors: Float64Array;
}

/** Sweeps converge quadratically: a matrix of some hundred rows needs about ten. */
const mostSweeps = 60;

/**
 * Diagonalizes a symmetric matrix by cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, 4th edition, section 8.5),
 * which finds small eigenvalues to an error relative to the largest.
 * @param matrix [n, n] row by row; only symmetric matrices are meant.
 * @throws RangeError when it does not converge, which only NaN or infinity can cause.
 */
export function symmetricEigen(matrix: Float64Array, n: number): Eigen {
  const a = matrix.slice();
  const v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;
  const whole = sumOfSquares(a);
  // Written so that NaN goes on, and is found.
  for (let sweep = 0; !(offDiagonal(a, n) <= 1e-30 * whole); sweep++) {
    if (sweep === mostSweeps) throw new RangeError('the eigenvalues of a matrix with NaN or infinity do not exist');
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(a, v, n, p, q);
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[j * n + j]! - a[i * n + i]!);
  const vectors = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let k = 0; k < n; k++) vectors[i * n + k] = v[i * n + order[k]!]!;
  return { values: Float64Array.from(order, (k) => a[k * n + k]!), vectors };
}

/** Makes a[p][q] zero by a rotation of rows and columns p and q. */
function rotate(a: Float64Array, v: Float64Array, n: number, p: number, q: number): void {
  const apq = a[p * n + q]!;
  if (apq === 0) return;
  const tau = (a[q * n + q]! - a[p * n + p]!) / (2 * apq);
  const t = (tau < 0 ? -1 : 1) / (Math.abs(tau) + Math.hypot(1, tau));
  const c = 1 / Math.hypot(1, t);
  const s = t * c;
  const turn = (m: Float64Array, i: number, j: number) => {
    const [x, y] = [m[i]!, m[j]!];
    m[i] = c * x - s * y;
    m[j] = s * x + c * y;
  };
  for (let k = 0; k < n; k++) turn(a, k * n + p, k * n + q);
  for (let k = 0; k < n; k++) turn(a, p * n + k, q * n + k);
  for (let k = 0; k < n; k++) turn(v, k * n + p, k * n + q);
}

function offDiagonal(a: Float64Array, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) if (i !== j) sum += a[i * n + j]! ** 2;
  return sum;
}

function sumOfSquares(a: Float64Array): number {
  return a.reduce((sum, x) => sum + x * x, 0);
}
