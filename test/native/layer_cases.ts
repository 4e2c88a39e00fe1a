/** GPT-2's layers in float64, written out element by element. */
import { float32, floats, halves, int32, type KernelCase, naturals, type Operand } from './case.ts';

const tolerance = 3e-6;

function layerNorm(
  label: string,
  [N, C]: [number, number],
  x: Operand,
  weight: typeof floats,
  tolerance = 3e-6,
): KernelCase[] {
  const [gain, bias, dy] = [weight([C]), weight([C]), floats([N, C])];
  const epsilon = 1e-5;
  const y = new Float64Array(N * C);
  const dx = new Float64Array(N * C);
  const dgain = new Float64Array(C);
  for (let n = 0; n < N; n++) {
    const row = Array.from({ length: C }, (_, c) => x.data[n * C + c]!);
    const mean = row.reduce((s, v) => s + v, 0) / C;
    const variance = row.reduce((s, v) => s + (v - mean) ** 2, 0) / C;
    const z = row.map((v) => (v - mean) / Math.sqrt(variance + epsilon));
    const g = z.map((_, c) => dy.data[n * C + c]! * gain.data[c]!);
    const meanG = g.reduce((s, v) => s + v, 0) / C;
    const meanGz = g.reduce((s, v, c) => s + v * z[c]!, 0) / C;
    for (let c = 0; c < C; c++) {
      y[n * C + c] = z[c]! * gain.data[c]! + bias.data[c]!;
      dx[n * C + c] = (g[c]! - meanG - z[c]! * meanGz) / Math.sqrt(variance + epsilon);
      dgain[c]! += dy.data[n * C + c]! * z[c]!;
    }
  }
  const common = { label, attributes: { epsilon }, tolerance };
  const forward = { ...common, kernel: 'LayerNorm', operands: [x, gain, bias], output: [N, C], expected: y };
  const input = { ...common, kernel: 'LayerNormBackwardInput', operands: [dy, x, gain], output: [N, C], expected: dx };
  const added = floats([N, C]);
  const sum = { ...input, operands: [dy, x, gain, added], expected: dx.map((v, i) => v + added.data[i]!) };
  return [
    forward,
    { ...forward, label: `${label}, in place`, inPlace: 0 },
    input,
    { ...input, label: `${label}, in place`, inPlace: 0 },
    { ...sum, label: `${label}, added` },
    { ...sum, label: `${label}, over what is added`, inPlace: 3 },
    { ...common, kernel: 'LayerNormBackwardGain', operands: [dy, x], output: [C], expected: dgain },
  ];
}

function geluOf(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

function geluSlope(x: number): number {
  const u = Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);
  const du = Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x ** 2);
  return 0.5 * (1 + Math.tanh(u)) + (0.5 * x * du) / Math.cosh(u) ** 2;
}

function gelu(label: string, x: Operand): KernelCase[] {
  const dy = floats(x.shape);
  const expected = Array.from(x.data, geluOf);
  const gradient = Array.from(x.data, (v, i) => dy.data[i]! * geluSlope(v));
  const common = { label, attributes: {}, output: x.shape, tolerance };
  const forward: KernelCase = { ...common, kernel: 'Gelu', operands: [x], expected };
  const backward: KernelCase = { ...common, kernel: 'GeluBackward', operands: [dy, x], expected: gradient };
  return [
    forward,
    { ...forward, label: `${label}, in place`, inPlace: 0 },
    backward,
    { ...backward, label: `${label}, over dy`, inPlace: 0 },
    { ...backward, label: `${label}, over x`, inPlace: 1 },
  ];
}

/** Softmax attention of query t over rows 0 .. t, and its gradient by the chain rule; by batch, head and query. */
function attention(label: string, B: number, T: number, heads: number, width: number, scale = 1): KernelCase[] {
  const C = heads * width;
  const qkv = floats([B, T, 3 * C], scale);
  const dy = floats([B, T, C]);
  const y = new Float64Array(B * T * C);
  const dqkv = new Float64Array(B * T * 3 * C);
  const lse = new Float64Array(B * heads * T);
  const at = (b: number, t: number, part: number, column: number) => ((b * T + t) * 3 + part) * C + column;
  for (let b = 0; b < B; b++) {
    for (let head = 0; head < heads; head++) {
      for (let t = 0; t < T; t++) {
        const columns = Array.from({ length: width }, (_, i) => head * width + i);
        const keys = Array.from({ length: t + 1 }, (_, s) => s);
        const dot = (s: number) =>
          columns.reduce((sum, c) => sum + qkv.data[at(b, t, 0, c)]! * qkv.data[at(b, s, 1, c)]!, 0);
        const scores = keys.map((s) => dot(s) / Math.sqrt(width));
        const largest = Math.max(...scores);
        const total = scores.reduce((sum, score) => sum + Math.exp(score - largest), 0);
        lse[(b * heads + head) * T + t] = largest + Math.log(total);
        const p = scores.map((score) => Math.exp(score - largest) / total);
        const dp = keys.map((s) =>
          columns.reduce((sum, c) => sum + dy.data[(b * T + t) * C + c]! * qkv.data[at(b, s, 2, c)]!, 0),
        );
        const weighted = p.reduce((sum, v, s) => sum + v * dp[s]!, 0);
        for (const c of columns) {
          for (const s of keys) {
            const dScore = (p[s]! * (dp[s]! - weighted)) / Math.sqrt(width);
            y[(b * T + t) * C + c]! += p[s]! * qkv.data[at(b, s, 2, c)]!;
            dqkv[at(b, t, 0, c)]! += dScore * qkv.data[at(b, s, 1, c)]!;
            dqkv[at(b, s, 1, c)]! += dScore * qkv.data[at(b, t, 0, c)]!;
            dqkv[at(b, s, 2, c)]! += p[s]! * dy.data[(b * T + t) * C + c]!;
          }
        }
      }
    }
  }
  const common = { label, attributes: { heads }, tolerance: 1e-5 };
  const forward = { ...common, operands: [qkv], output: [B, T, C], expected: y };
  const backward = { ...common, output: [B, T, 3 * C], expected: dqkv };
  const kept = [float32([B, T, C], y), float32([B, heads, T], lse)];
  return [
    { ...forward, kernel: 'CausalAttention' },
    { ...forward, kernel: 'CausalAttentionWithLse', further: [{ output: [B, heads, T], expected: lse }] },
    { ...backward, kernel: 'CausalAttentionBackward', operands: [dy, qkv] },
    { ...backward, kernel: 'CausalAttentionBackwardFromLse', operands: [dy, qkv, ...kept] },
  ];
}

function cache(label: string, B: number, P: number, heads: number, width: number): KernelCase[] {
  const C = heads * width;
  const [qkv, keys, values] = [floats([B, 1, 3 * C], 2), floats([B, P, C], 2), floats([B, P, C])];
  const positions = int32([B], [0, P - 1, ...naturals(B, P)].slice(0, B));
  const y = new Float64Array(B * C);
  for (let b = 0; b < B; b++) {
    for (let head = 0; head < heads; head++) {
      const columns = Array.from({ length: width }, (_, i) => head * width + i);
      const scores = Array.from({ length: positions.data[b]! + 1 }, (_, s) =>
        columns.reduce(
          (sum, c) => sum + (qkv.data[b * 3 * C + c]! * keys.data[(b * P + s) * C + c]!) / Math.sqrt(width),
          0,
        ),
      );
      const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
      for (const c of columns) {
        y[b * C + c] = scores.reduce(
          (sum, score, s) => sum + (Math.exp(score) / total) * values.data[(b * P + s) * C + c]!,
          0,
        );
      }
    }
  }
  const write = (part: number): KernelCase => {
    const expected = Float64Array.from(keys.data);
    for (let b = 0; b < B; b++) {
      for (let c = 0; c < C; c++) expected[(b * P + positions.data[b]!) * C + c] = qkv.data[(b * 3 + part) * C + c]!;
    }
    return {
      kernel: 'CacheWrite',
      label: `${label}, part ${part}`,
      operands: [keys, qkv, positions],
      attributes: { part },
      output: [B, P, C],
      expected,
      tolerance: 0,
    };
  };
  return [
    write(1),
    { ...write(2), label: `${label}, in place`, inPlace: 0 },
    {
      kernel: 'CachedAttention',
      label,
      operands: [qkv, keys, values, positions],
      attributes: { heads },
      output: [B, 1, C],
      expected: y,
      tolerance: 1e-5,
    },
  ];
}

function embedding(label: string, V: number, C: number, B: number, T: number, table: Operand): KernelCase[] {
  const ids = int32([B, T], naturals(B * T, V));
  const dy = floats([B, T, C]);
  const gradient = new Float64Array(V * C);
  ids.data.forEach((id, i) => {
    for (let c = 0; c < C; c++) gradient[id * C + c]! += dy.data[i * C + c]!;
  });
  const common = { label, tolerance };
  return [
    {
      ...common,
      kernel: 'Embedding',
      operands: [table, ids],
      attributes: {},
      output: [B, T, C],
      expected: Array.from(ids.data, (id) => [...table.data.slice(id * C, (id + 1) * C)]).flat(),
      tolerance: 0,
    },
    {
      ...common,
      kernel: 'EmbeddingBackward',
      operands: [dy, ids],
      attributes: { rows: V },
      output: [V, C],
      expected: gradient,
    },
  ];
}

/** The mask as defined, in BigInt modulo 2^32. */
function dropout(label: string, n: number, rate: number, seed: number, site: number, step: number): KernelCase[] {
  const mod = (h: bigint) => h & 0xffffffffn;
  const kept = (index: number) => {
    let h = BigInt(index) ^ mod(BigInt(site) * 0x9e3779b1n);
    h = mod(h + BigInt(seed) * 0x85ebca6bn + BigInt(step) * 0xc2b2ae35n);
    h = mod((h ^ (h >> 16n)) * 0x7feb352dn);
    h = mod((h ^ (h >> 15n)) * 0x846ca68bn);
    h ^= h >> 16n;
    return Number(h >> 8n) * 2 ** -24 >= rate;
  };
  const x = floats([n]);
  const forward: KernelCase = {
    kernel: 'Dropout',
    label,
    operands: [x, int32([1], [step])],
    attributes: { rate, seed, site },
    output: [n],
    expected: Array.from(x.data, (v, i) => (kept(i) ? v / (1 - rate) : 0)),
    tolerance: 2e-7,
  };
  return [forward, { ...forward, label: `${label}, in place`, inPlace: 0 }];
}

export function layerCases(): KernelCase[] {
  const far = [-100, -30, -9, -6, -1e-3, -0, 0, 1e-30, 1e-3, 6, 9, 30, 100];
  return [
    ...layerNorm('tails', [67, 45], floats([67, 45], 3), floats),
    ...layerNorm('many rows, bf16', [3000, 130], floats([3000, 130]), halves),
    ...layerNorm('three columns', [5, 3], floats([5, 3]), floats),
    // Here the mean's own rounding, 100 * 2^-24, weighs against deviations of about 1.
    ...layerNorm(
      'a large mean',
      [9, 50],
      float32(
        [9, 50],
        floats([9, 50]).data.map((v) => v + 100),
      ),
      floats,
      3e-5,
    ),
    ...gelu('many', floats([100_003], 4)),
    ...gelu('far from zero', float32([far.length], far)),
    ...attention('one position', 2, 1, 2, 8),
    ...attention('several blocks of queries', 2, 135, 2, 12),
    ...attention('a block and a few rows', 1, 67, 2, 16),
    ...attention('heads of 64, several tiles and a rest', 2, 200, 2, 64),
    ...attention('heads of 64, less than a tile', 1, 63, 1, 64),
    ...attention('heads of 64, a tile and a row', 1, 65, 1, 64),
    ...attention('sharp', 1, 40, 2, 8, 6),
    ...cache('tails', 5, 23, 3, 10),
    ...cache('long', 3, 700, 4, 64),
    ...embedding('tails', 50, 37, 3, 21, floats([50, 37])),
    ...embedding('bf16, cut for threads', 300, 70, 8, 200, halves([300, 70])),
    ...dropout('a tenth', 70_001, 0.1, 42, 7, 3),
    ...dropout('large keys', 999, 0.5, 4_000_000_000, 3_000_000_000, 2_000_000_000),
    ...dropout('none', 33, 0, 1, 2, 3),
  ];
}
