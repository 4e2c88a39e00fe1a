/** NF4 and doubly quantized scales: numbers to codes and back as they are defined, and products with them in float64. */
import { bytes, float32, floats, halves, type KernelCase, naturals, type Operand, random, toBf16 } from './case.ts';

/** Quantiles of the normal distribution (Dettmers et al. 2023, appendix E). */
export const codebook = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
];

interface Stored {
  readonly operands: readonly Operand[];
  /** What the scales' codes stand for, if they are in codes: operands that come last. */
  readonly nested: readonly Operand[];
  readonly attributes: Readonly<Record<string, number>>;
  /** The elements it stands for. */
  readonly values: readonly number[];
}

/** n elements with random codes and scales. */
function stored(n: number, block: number): Stored {
  const next = random(n);
  const absmax = Array.from({ length: n / block }, () => Math.fround(0.01 + Math.abs(next())));
  return withScales(n, block, float32([n / block], absmax), absmax);
}

/** The same with scales in codes. */
function doublyStored(n: number, block: number): Stored {
  const scales = nestedScales(n / block);
  const [codes, ...nested] = scales.operands;
  return { ...withScales(n, block, codes!, scales.values), nested, attributes: { nestedBlock: 256 } };
}

function withScales(n: number, block: number, absmax: Operand, scales: readonly number[]): Stored {
  const codes = naturals(n, 16);
  const packed = Array.from({ length: n / 2 }, (_, i) => codes[2 * i]! * 16 + codes[2 * i + 1]!);
  return {
    operands: [bytes([n / 2], packed), absmax, float32([16], codebook)],
    nested: [],
    attributes: {},
    values: codes.map((code, e) => toBf16(Math.fround(codebook[code]! * scales[Math.floor(e / block)]!))),
  };
}

/** Scales in 8 bits; each step is rounded to float32, as two operations are. */
function nestedScales(n: number): { operands: Operand[]; values: number[] } {
  const codes = naturals(n, 256);
  const nested = floats([Math.ceil(n / 256)], 0.1);
  const dynamic = floats([256]);
  const offset = 0.0437;
  const values = codes.map((code, i) => {
    const product = Math.fround(dynamic.data[code]! * nested.data[Math.floor(i / 256)]!);
    return Math.fround(product + Math.fround(offset));
  });
  return { operands: [bytes([n], codes), nested, dynamic, float32([1], [offset])], values };
}

function products(
  label: string,
  N: number,
  M: number,
  K: number,
  block: number,
  bias?: Operand,
  w = stored(M * K, block),
): KernelCase[] {
  const [x, dy, addend, before] = [floats([N, K]), floats([N, M]), floats([N, M]), floats([N, K])];
  const y = new Float64Array(N * M);
  const dx = new Float64Array(N * K);
  for (let n = 0; n < N; n++) {
    for (let m = 0; m < M; m++) {
      let sum = bias?.data[m] ?? 0;
      for (let k = 0; k < K; k++) {
        sum += x.data[n * K + k]! * w.values[m * K + k]!;
        dx[n * K + k]! += dy.data[n * M + m]! * w.values[m * K + k]!;
      }
      y[n * M + m] = sum;
    }
  }
  const forward = { label, attributes: { ...w.attributes, outFeatures: M, block }, output: [N, M], tolerance: 2e-6 };
  const backward = { ...forward, attributes: { ...w.attributes, inFeatures: K, block }, output: [N, K] };
  const cases: KernelCase[] = [
    {
      ...forward,
      kernel: 'Nf4MatMul',
      operands: [x, ...w.operands, ...(bias === undefined ? [] : [bias]), ...w.nested],
      expected: y,
    },
    { ...backward, kernel: 'Nf4MatMulBackwardInput', operands: [dy, ...w.operands, ...w.nested], expected: dx },
    {
      ...backward,
      kernel: 'Nf4MatMulBackwardInput',
      label: `${label}, added`,
      operands: [dy, ...w.operands, before, ...w.nested],
      expected: dx.map((value, i) => value + before.data[i]!),
    },
  ];
  if (bias === undefined) return cases;
  return [
    ...cases,
    {
      ...forward,
      kernel: 'Nf4MatMul',
      label: `${label}, added`,
      operands: [x, ...w.operands, bias, addend, ...w.nested],
      expected: y.map((value, i) => value + addend.data[i]!),
    },
  ];
}

function dequantize(shape: readonly [number, number], block: number): KernelCase {
  const w = stored(shape[0] * shape[1], block);
  return {
    kernel: 'Nf4Dequantize',
    label: `${shape}, blocks of ${block}`,
    operands: w.operands,
    attributes: { shape, block },
    output: shape,
    expected: w.values,
    tolerance: 0,
  };
}

function absmax(n: number): KernelCase {
  const { operands, values } = nestedScales(n);
  return {
    kernel: 'DequantizeAbsmax',
    label: `${n} scales`,
    operands,
    attributes: { nestedBlock: 256 },
    output: [n],
    expected: values,
    tolerance: 0,
  };
}

/** A float32 as an integer multiple of 2^-149, so that distances are exact. */
function exact(x: number): bigint {
  const scaled = x * 2 ** 100; // still a float64 without rounding: only the exponent changes
  return scaled === 0 ? 0n : BigInt(scaled * 2 ** 49);
}

/** The nearest code of a float32, by comparing distances; of two equally near, the lower. */
function nearestCode(x: number): number {
  const distance = (code: number) => {
    const d = exact(x) - exact(Math.fround(codebook[code]!));
    return d < 0n ? -d : d;
  };
  return codebook.reduce((best, _, code) => (distance(code) < distance(best) ? code : best), 0);
}

/** The float32 `by` steps above a positive one, or below a negative one. */
function beside(x: number, by: number): number {
  const neighbour = Float32Array.of(x);
  new Int32Array(neighbour.buffer)[0]! += by;
  return neighbour[0]!;
}

/** Middles between codes as float32 numbers, with what is next to them; some are ties. */
const middles = codebook
  .slice(1)
  .map((upper, code) => Math.fround((Math.fround(codebook[code]!) + Math.fround(upper)) / 2))
  .flatMap((x) => [beside(x, -1), x, beside(x, 1)]);

/** The largest float32 that is nearest to each code but the last, found by halving: what the definition says, asked often enough. */
const thresholds = codebook.slice(1).map((_, code) => {
  let [low, high] = [-1, 1];
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (nearestCode(Math.fround(middle)) <= code) low = middle;
    else high = middle;
  }
  return Math.fround(low);
});

function quantizations(label: string, weights: readonly number[], block: number): KernelCase[] {
  const w = float32([weights.length], weights);
  const scales = Array.from({ length: w.data.length / block }, (_, b) =>
    Math.max(...w.data.subarray(b * block, (b + 1) * block).map(Math.abs)),
  );
  const codes = Array.from(w.data, (value, i) => {
    const scale = scales[Math.floor(i / block)]!;
    return nearestCode(scale === 0 ? 0 : Math.fround(value / scale));
  });
  const absmax = { output: [scales.length], expected: scales };
  const packed = {
    output: [codes.length / 2],
    storage: 'uint8' as const,
    expected: Array.from({ length: codes.length / 2 }, (_, i) => 16 * codes[2 * i]! + codes[2 * i + 1]!),
  };
  const common = { label: `${label}, blocks of ${block}`, attributes: { block }, tolerance: 0 };
  const table = float32([15], thresholds);
  return [
    { ...common, kernel: 'Nf4Absmax', operands: [w], ...absmax },
    { ...common, kernel: 'Nf4Codes', operands: [w, float32(absmax.output, scales), table], ...packed },
    { ...common, kernel: 'Nf4Quantize', operands: [w, table], ...absmax, further: [packed] },
  ];
}

function quantizationCases(): KernelCase[] {
  const many = (count: number, scale = 1) => [...floats([count], scale).data];
  return [
    ...quantizations('uniform numbers', many(64 * 700, 0.02), 64),
    ...[2, 6, 30, 34, 128, 200].flatMap((block) => quantizations('uniform numbers', many(block * 9), block)),
    ...quantizations('middles and their neighbours', [1, ...middles, 0, -0], 48),
    ...quantizations(
      'constant blocks',
      [0.3, -0.3, 1e-30, 3e38].flatMap((x) => new Array(64).fill(x)),
      64,
    ),
    ...quantizations(
      'zeros of both signs',
      [0, -0].flatMap((x) => new Array(64).fill(x)),
      64,
    ),
    ...quantizations(
      'denormal numbers',
      many(64).map((x) => Math.round(1000 * x) * 2 ** -149),
      64,
    ),
  ];
}

export function nf4Cases(): KernelCase[] {
  return [
    ...quantizationCases(),
    ...products('blocks of 64', 37, 96, 128, 64, floats([96])),
    ...products('more than one block of the product each way', 30, 640, 320, 64, halves([640])),
    ...products('blocks across rows, odd rows', 21, 64, 33, 64),
    ...products('one row', 1, 530, 192, 64, floats([530])),
    ...products('small blocks', 9, 10, 14, 4),
    ...products('scales in codes', 40, 96, 256, 64, floats([96]), doublyStored(96 * 256, 64)),
    ...products('scales in codes, one row', 1, 530, 192, 64, floats([530]), doublyStored(530 * 192, 64)),
    dequantize([300, 256], 64),
    dequantize([6, 7], 6),
    dequantize([3, 10], 2),
    absmax(700),
    absmax(100_000),
  ];
}
