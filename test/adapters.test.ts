/** Updates of low rank, and the stages that compare adapters by them, against plain float64 arithmetic on the whole matrices. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromCSV } from 'arquero';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeCheckpoint } from '../model/checkpoint.ts';
import { initialWeights } from '../model/initial.ts';
import { difference, innerProduct, type LowRank, productWithMatrix, rowsOf, spectra } from '../model/low_rank.ts';
import { writePeft } from '../model/peft.ts';
import { Random } from '../model/random.ts';
import { symmetricEigen } from '../model/symmetric_eigen.ts';
import type { AdapterComparison } from '../stages/compare-adapters/comparison.ts';
import compareAdapters from '../stages/compare-adapters.ts';
import quantizationError, { type FamilyError } from '../stages/quantization-error.ts';
import quantize from '../stages/quantize.ts';
import similarity from '../stages/similarity.ts';
import { repository } from './support/checkout.ts';
import { openWorkshop, type Workshop } from './support/stages.ts';

function update(seed: number, outFeatures: number, inFeatures: number, rank: number, scale = 2): LowRank {
  const random = new Random(seed, 'update');
  const draw = (count: number) => Float32Array.from({ length: count }, () => random.normal());
  return { a: draw(rank * inFeatures), b: draw(outFeatures * rank), rank, inFeatures, outFeatures, scale };
}

/** scale B A, multiplied out. */
function whole({ a, b, rank, inFeatures, outFeatures, scale }: LowRank): Float64Array {
  return Float64Array.from({ length: outFeatures * inFeatures }, (_, at) => {
    const [o, i] = [Math.floor(at / inFeatures), at % inFeatures];
    let sum = 0;
    for (let r = 0; r < rank; r++) sum += b[o * rank + r]! * a[r * inFeatures + i]!;
    return scale * sum;
  });
}

const dot = (x: Float64Array, y: ArrayLike<number>) => x.reduce((sum, value, i) => sum + value * y[i]!, 0);

describe('updates of low rank', () => {
  const [p, q] = [update(1, 13, 9, 3), update(2, 13, 9, 5, 0.5)];
  const [P, Q] = [whole(p), whole(q)];

  it('are compared as the whole matrices would be', () => {
    expect(innerProduct(p, q)).toBeCloseTo(dot(P, Q), 8);
    const found = difference(p, q);
    const apart = P.map((x, i) => x - Q[i]!);
    expect(found.norm).toBeCloseTo(Math.sqrt(dot(P, P)), 10);
    expect(found.referenceNorm).toBeCloseTo(Math.sqrt(dot(Q, Q)), 10);
    expect(found.l2).toBeCloseTo(Math.sqrt(dot(apart, apart)), 8);
    expect(found.cosine).toBeCloseTo(dot(P, Q) / Math.sqrt(dot(P, P) * dot(Q, Q)), 12);
    expect(found.relative).toBeCloseTo(found.l2 / found.referenceNorm, 12);
    expect(productWithMatrix(p, Float32Array.from(Q))).toBeCloseTo(dot(P, Float32Array.from(Q)), 4);
    expect(dot(whole(rowsOf(p, 4, 7)), P.subarray(4 * 9, 7 * 9))).toBeCloseTo(
      innerProduct(rowsOf(p, 4, 7), rowsOf(p, 4, 7)),
      8,
    );
  });

  it('are the same to the bit beside themselves, and have no direction when they are zero', () => {
    expect(difference(p, { ...p, a: p.a.slice() })).toMatchObject({ l2: 0, relative: 0 });
    const zero = { ...p, b: new Float32Array(p.b.length) };
    expect(difference(zero, p)).toMatchObject({ cosine: null, norm: 0, relative: 1 });
    expect(difference(p, zero)).toMatchObject({ cosine: null, relative: null });
    expect(spectra(zero, p)).toMatchObject({ singular: [], outputAngles: [] });
  });

  it('have the singular values of the whole matrix', () => {
    const gram = Float64Array.from({ length: 81 }, (_, at) => {
      const [i, j] = [Math.floor(at / 9), at % 9];
      let sum = 0;
      for (let o = 0; o < 13; o++) sum += P[o * 9 + i]! * P[o * 9 + j]!;
      return sum;
    });
    const values = symmetricEigen(gram, 9).values;
    const { singular } = spectra(p, q);
    expect(singular).toHaveLength(3);
    for (const [i, value] of singular.entries()) expect(value).toBeCloseTo(Math.sqrt(values[i]!), 8);
  });

  it('have the angles between their spaces that were put there', () => {
    // Outputs: e0 and e1 against e0 turned by 30 degrees towards e2, and e1 turned by 70 towards e3. Inputs: the same two axes.
    const turn = (degrees: number) =>
      [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)] as const;
    const [[c1, s1], [c2, s2]] = [turn(30), turn(70)];
    const a = Float32Array.from([1, 0, 0, 0, 2, 0]);
    const one: LowRank = {
      a,
      b: Float32Array.from([3, 0, 0, 1, 0, 0, 0, 0]),
      rank: 2,
      inFeatures: 3,
      outFeatures: 4,
      scale: 1,
    };
    const other: LowRank = { ...one, b: Float32Array.from([c1, 0, 0, 5 * c2, s1, 0, 0, 5 * s2]) };
    const { outputAngles, inputAngles } = spectra(one, other);
    expect(outputAngles).toEqual([expect.closeTo(30, 4), expect.closeTo(70, 4)]);
    for (const angle of inputAngles) expect(angle).toBeCloseTo(0, 4);
  });

  it('are refused when their matrices are of different shapes', () => {
    expect(() => innerProduct(p, update(1, 13, 8, 3))).toThrow('[13, 9] cannot be compared with one of [13, 8]');
  });
});

describe('eigenvalues', () => {
  it('and vectors give the matrix back, in order', () => {
    const random = new Random(4);
    const n = 12;
    const half = Float64Array.from({ length: n * n }, () => random.normal());
    const matrix = half.map((x, at) => x + half[(at % n) * n + Math.floor(at / n)]!);
    const { values, vectors } = symmetricEigen(matrix, n);
    for (let i = 1; i < n; i++) expect(values[i]!).toBeLessThanOrEqual(values[i - 1]!);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let [product, unit] = [0, 0];
        for (let k = 0; k < n; k++) {
          product += values[k]! * vectors[i * n + k]! * vectors[j * n + k]!;
          unit += vectors[k * n + i]! * vectors[k * n + j]!;
        }
        expect(product).toBeCloseTo(matrix[i * n + j]!, 9);
        expect(unit).toBeCloseTo(i === j ? 1 : 0, 10);
      }
    }
  });

  it('do not exist for a matrix with NaN', () => {
    expect(() => symmetricEigen(Float64Array.from([1, Number.NaN, Number.NaN, 1]), 2)).toThrow(RangeError);
  });
});

describe('the stages', () => {
  let shop: Workshop;
  const config = { vocabSize: 64, contextLength: 8, width: 64, layers: 2, heads: 2, epsilon: 1e-5 };
  const folder = (name: string) => join(shop.folder, name);
  const adapters = (seed: number) =>
    new Map([0, 1].map((layer) => [`h.${layer}.attn.c_attn`, update(10 * seed + layer, 192, 64, 4)] as const));
  const notes = { base: null, fanInFanOut: true, dropout: 0, metadata: {} };
  beforeAll(() => {
    shop = openWorkshop();
    for (const seed of [1, 2]) writePeft(folder(`adapter-${seed}`), adapters(seed), notes);
    writePeft(folder('other'), new Map([['h.0.mlp.c_fc', update(1, 256, 64, 4)]]), notes);
  });
  afterAll(() => shop.remove());
  const json = <T>(path: string) => JSON.parse(readFileSync(path, 'utf8')) as T;

  it('compare every layer, its q, k and v apart, and all as one vector', async () => {
    const inputs = { adapter: folder('adapter-1'), reference: folder('adapter-2') };
    const { outputs } = await shop.run(compareAdapters, { inputs });
    const found = json<AdapterComparison>(outputs.results!);
    const [mine, theirs] = [1, 2].map((seed) => [...adapters(seed).values()].map(whole));
    expect(found.layers.map(({ layer, cosine }) => [layer, cosine])).toEqual(
      [0, 1].map((layer) => {
        const [P, Q] = [mine![layer]!, theirs![layer]!];
        return [layer, expect.closeTo(dot(P, Q) / Math.sqrt(dot(P, P) * dot(Q, Q)), 10)];
      }),
    );
    expect(found.families.map(({ layer, family }) => `${layer}${family}`)).toEqual([
      '0q',
      '0k',
      '0v',
      '1q',
      '1k',
      '1v',
    ]);
    const apart = mine!.flatMap((P, layer) => [...P.map((x, i) => x - theirs![layer]![i]!)]);
    expect(found.whole.l2).toBeCloseTo(Math.hypot(...apart), 6);
    expect(found.scale).toBe(2);
  });

  it('refuse adapters on other matrices, naming one', async () => {
    const inputs = { adapter: folder('other'), reference: folder('adapter-2') };
    await expect(shop.run(compareAdapters, { inputs })).rejects.toThrow(
      /adapter-2 has an adapter on h\.0\.attn\.c_attn, and .*other has none/,
    );
  });

  it('compare many adapters, each with each', async () => {
    const members = [1, 2].map((seed) => ({ path: folder(`adapter-${seed}`), axes: { precision: 'bf16', seed } }));
    const { outputs } = await shop.run(similarity, {
      params: { label: ['precision', 'seed'] },
      inputs: { adapters: members },
    });
    const { names, cosines } = json<{ names: string[]; cosines: number[][] }>(outputs.similarity!);
    expect(names).toEqual(['bf16 1', 'bf16 2']);
    expect(cosines[0]![0]).toBeCloseTo(1, 12);
    expect(cosines[0]![1]).toBe(cosines[1]![0]);
    await expect(
      shop.run(similarity, { params: { label: ['precision'] }, inputs: { adapters: members } }),
    ).rejects.toThrow('two adapters are called "bf16"');
  });

  it('find that an adapter made of the error, with the sign turned, repairs it', async () => {
    writeCheckpoint(folder('base'), { config, weights: initialWeights(config, 1) }, 'BF16');
    const base = (await shop.run(quantize, { params: { precision: 'bf16' }, inputs: { base: folder('base') } })).outputs
      .model!;
    const quantized = (await shop.run(quantize, { inputs: { base: folder('base') } })).outputs.model!;
    const errors = async (adapter: string) => {
      const { outputs } = await shop.run(quantizationError, { inputs: { base, quantized, adapter } });
      return json<{ errorOfModel: number; families: FamilyError[] }>(outputs.errors!);
    };
    const random = await errors(folder('adapter-1'));
    const q = random.families.find(({ layer, family }) => layer === 0 && family === 'q')!;
    // NF4 leaves about a tenth of the weights' norm as error, and a random update is all but orthogonal to it.
    expect(Math.sqrt(q.error / q.weight)).toBeGreaterThan(0.05);
    expect(Math.sqrt(q.error / q.weight)).toBeLessThan(0.15);
    expect(Math.abs(q.repair) / Math.sqrt(q.update * q.error)).toBeLessThan(0.1);
    const of = (name: string) => random.families.filter(({ family }) => family === name).length;
    expect([of('q'), of('k'), of('v'), of('o')]).toEqual([2, 2, 2, 0]);
    // Full rank holds any matrix: B = I picks each row of A, and A is -E of queries, keys and values.
    const { readQuantizedCheckpoint } = await import('../model/quantized_checkpoint.ts');
    const { dequantize, dequantizeAbsmax } = await import('../model/nf4.ts');
    const modules = [0, 1].map((layer) => {
      const name = `h.${layer}.attn.c_attn.weight`;
      const weight = readQuantizedCheckpoint(base).weights.get(name)!;
      const codes = readQuantizedCheckpoint(quantized).weights.get(name)!;
      if (weight.kind !== 'dense' || codes.kind !== 'nf4' || codes.absmax instanceof Float32Array)
        throw new Error('not as planned');
      const values = dequantize({ ...codes, absmax: dequantizeAbsmax(codes.absmax) });
      const identity = Float32Array.from({ length: 192 * 192 }, (_, at) => (Math.floor(at / 192) === at % 192 ? 1 : 0));
      const a = values.map((x, i) => weight.data[i]! - x);
      return [
        `h.${layer}.attn.c_attn`,
        { a, b: identity, rank: 192, inFeatures: 64, outFeatures: 192, scale: 1 },
      ] as const;
    });
    writePeft(folder('repairing'), new Map(modules), notes);
    for (const { repair, update, error } of (await errors(folder('repairing'))).families) {
      expect(repair / Math.sqrt(update * error)).toBeCloseTo(1, 6);
    }
  });
});

const published = join(repository, '..', 'shared', 'data', 'published-adapters');

describe('the published adapters of GPT-2 Medium', () => {
  it('have the published cosine, L2 and relative difference at layers 0, 12 and 23, to four decimals', async (context) => {
    if (!existsSync(published)) context.skip(`there are no published adapters at ${published}`);
    const shop = openWorkshop();
    try {
      const { outputs } = await shop.run(compareAdapters, {
        params: {
          published: [
            { layer: 0, cosine: 0.8947, l2: 0.6073, relative_difference: 0.4683 },
            { layer: 12, cosine: 0.8879, l2: 0.7868, relative_difference: 0.4846 },
            { layer: 23, cosine: 0.8958, l2: 1.0054, relative_difference: 0.4672 },
          ],
          source: 'the published run',
        },
        inputs: { adapter: join(published, 'qlora-r8'), reference: join(published, 'lora-r8') },
      });
      const csv = (name: string) =>
        fromCSV(readFileSync(join(outputs.tables!, `${name}.csv`), 'utf8')).objects() as Record<string, unknown>[];
      expect(csv('published_check').map(({ agree }) => agree)).toEqual(['yes', 'yes', 'yes']);
      expect(csv('adapters_by_layer')).toHaveLength(25);
    } finally {
      shop.remove();
    }
  });
});
