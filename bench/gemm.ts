/** Matrix products on one core: the native kernels against OpenBLAS, in one program (gemm.cc). */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { compileFlags, compiler } from '../scripts/build-native.mjs';
import { type Figure, ratesOf, type Skipped, type Subject } from './figure.ts';

const root = join(import.meta.dirname, '..');
const sources = [
  'bench/gemm.cc',
  ...['gemm', 'gemm_pack', 'gemm_few_rows', 'nf4'].map((name) => `native/kernels/cpu/${name}.cc`),
  'native/parallel.cc',
];

/** One line of what the program prints: C[m, n] = A[m, k] B[k, n], with the seconds of each round. */
interface Line {
  readonly product: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly ours: readonly number[];
  readonly openblas: readonly number[];
}

export const gemm: Subject = { name: 'gemm', measure };

async function measure(rounds: number): Promise<(Figure | Skipped)[]> {
  const folder = mkdtempSync(join(tmpdir(), 'pipe-bench-'));
  try {
    const program = join(folder, 'gemm');
    const problem = await compile(program);
    if (problem !== undefined) return [{ what: 'GEMM, native, 1 thread', skipped: problem }];
    const { stdout } = await promisify(execFile)(program, [String(rounds)]);
    return stdout
      .trimEnd()
      .split('\n')
      .map((line) => figureOf(JSON.parse(line) as Line));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** @returns why there is no program, if there is none. */
async function compile(program: string): Promise<string | undefined> {
  const args = [...compileFlags(), ...sources, '-lopenblas', '-pthread', '-o', program];
  try {
    await promisify(execFile)(compiler(), args, { cwd: root, env: { ...process.env, LC_ALL: 'C' } });
    return undefined;
  } catch (error) {
    const { code, stderr = '', message } = error as NodeJS.ErrnoException & { readonly stderr?: string };
    if (String(code) === 'ENOENT') return `no C++ compiler: '${compiler()}' cannot be run (install g++, or set CXX)`;
    if (/cblas\.h.*(?:No such file|not found)|(?:cannot find -l|library '?)openblas/.test(stderr))
      return 'OpenBLAS is not installed (apt-get install libopenblas-dev)';
    throw new Error(stderr || message);
  }
}

function figureOf({ product, m, n, k, ours, openblas }: Line): Figure {
  const gigaflop = (2 * m * n * k) / 1e9;
  return {
    what: `GEMM ${product}, ${m} x ${n} x ${k}, 1 thread`,
    unit: 'GFLOP/s',
    measured: ratesOf(gigaflop, ours),
    against: { what: 'OpenBLAS', sample: ratesOf(gigaflop, openblas) },
    bar: { ratio: 0.6 },
  };
}
