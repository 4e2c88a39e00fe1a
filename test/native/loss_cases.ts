/** The loss in float64: all logits, the softmax, the chain rule. */
import { float32, floats, halves, int32, type KernelCase, naturals, type Operand } from './case.ts';

function loss(
  label: string,
  targets: number[],
  V: number,
  C: number,
  table: Operand,
  chunk: number,
  scale = 1,
): KernelCase[] {
  const N = targets.length;
  const hidden = floats([N, C], scale);
  const dloss = 1.75;
  const counted = targets.filter((target) => target >= 0).length;
  const perRow = new Float64Array(N);
  const dhidden = new Float64Array(N * C);
  const dtable = new Float64Array(V * C);
  let total = 0;
  let largestLogit = 0;
  targets.forEach((target, n) => {
    if (target < 0) return;
    const logits = Array.from({ length: V }, (_, v) => {
      let sum = 0;
      for (let c = 0; c < C; c++) sum += hidden.data[n * C + c]! * table.data[v * C + c]!;
      return sum;
    });
    const largest = Math.max(...logits);
    largestLogit = Math.max(largestLogit, ...logits.map(Math.abs));
    const normalizer = largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
    perRow[n] = logits[target]! - normalizer;
    total -= perRow[n]!;
    for (let v = 0; v < V; v++) {
      const d = ((Math.exp(logits[v]! - normalizer) - (v === target ? 1 : 0)) * dloss) / counted;
      for (let c = 0; c < C; c++) {
        dhidden[n * C + c]! += d * table.data[v * C + c]!;
        dtable[v * C + c]! += d * hidden.data[n * C + c]!;
      }
    }
  });
  const operands = [hidden, table, int32([N], targets)];
  const withGradient = [float32([], [dloss]), ...operands];
  // Rounding a logit to float32 is off by up to 2^-24 of it, and the softmax makes of that a relative error of the same size.
  const tolerance = Math.max(5e-6, 2 ** -23 * largestLogit);
  const common = { label, attributes: {}, scratch: [chunk, V], tolerance };
  const mean = { output: [], expected: [counted === 0 ? 0 : total / counted] };
  const gradient = { output: [N, C], expected: dhidden };
  return [
    { ...common, kernel: 'CrossEntropy', operands, ...mean },
    { ...common, kernel: 'CrossEntropyWithGradient', operands: withGradient, ...mean, further: [gradient] },
    { ...common, kernel: 'TokenLogProb', operands, output: [N], expected: perRow },
    { ...common, kernel: 'CrossEntropyBackwardHidden', operands: withGradient, ...gradient },
    { ...common, kernel: 'CrossEntropyBackwardTable', operands: withGradient, output: [V, C], expected: dtable },
  ];
}

export function lossCases(): KernelCase[] {
  /** Whole numbers below V, every third of them replaced by -1. */
  const some = (N: number, V: number) => naturals(N, V).map((target, n) => (n % 3 === 1 ? -1 : target));
  return [
    ...loss('several chunks', some(150, 301), 301, 40, floats([301, 40]), 16),
    ...loss('bf16, cut for threads', some(100, 1030), 1030, 65, halves([1030, 65]), 64),
    ...loss('every row', naturals(20, 33), 33, 7, floats([33, 7]), 64),
    ...loss('large logits', some(30, 50), 50, 30, floats([50, 30], 10), 8, 10),
    ...loss('no target', [-1, -1, -1], 11, 5, floats([11, 5]), 2),
    ...loss('one row', [2], 5, 3, floats([5, 3]), 1),
  ];
}
