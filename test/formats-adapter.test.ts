/** PEFT folders: our slices as whole-matrix adapters and back, and adapters that others published. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { type Adapter, readAdapter, writeAdapter } from '../model/adapter.ts';
import { type Gpt2Config, publishedConfigs } from '../model/config.ts';
import { type Family, families } from '../model/gpt2.ts';
import { adaptedMatrices, adapterShapes } from '../model/lora.ts';
import { type LoraModule, readPeft, writePeft } from '../model/peft.ts';
import { Random } from '../model/random.ts';
import { openSafetensors, writeSafetensors } from '../model/safetensors.ts';

const folder = mkdtempSync(join(tmpdir(), 'pipe-adapter-'));
afterAll(() => rmSync(folder, { recursive: true }));

const config: Gpt2Config = { vocabSize: 11, contextLength: 6, width: 8, layers: 2, heads: 2, epsilon: 1e-5 };

function randomAdapter(targets: readonly Family[], rank: number, alpha: number, seed = 1): Adapter {
  const random = new Random(seed);
  const lora = { rank, alpha, targets };
  const tensors = new Map(
    [...adapterShapes(config, lora)].map(([name, [rows, columns]]) => [
      name,
      Float32Array.from({ length: rows! * columns! }, () => random.normal()),
    ]),
  );
  return { config, lora, tensors };
}

/** scale * B A as a [out, in] matrix. */
function update({ a, b, rank, inFeatures, outFeatures, scale }: LoraModule): number[][] {
  return Array.from({ length: outFeatures }, (_, o) =>
    Array.from({ length: inFeatures }, (_, i) => {
      let sum = 0;
      for (let r = 0; r < rank; r++) sum += b[o * rank + r]! * a[r * inFeatures + i]!;
      return scale * sum;
    }),
  );
}

/** The inner product of two updates B A, without their scales: the sum over ranks of (BᵀB')∘(AA'ᵀ). */
function inner(x: LoraModule, y: LoraModule): number {
  let total = 0;
  for (let r = 0; r < x.rank; r++) {
    for (let s = 0; s < y.rank; s++) {
      let [ofA, ofB] = [0, 0];
      for (let i = 0; i < x.inFeatures; i++) ofA += x.a[r * x.inFeatures + i]! * y.a[s * y.inFeatures + i]!;
      for (let o = 0; o < x.outFeatures; o++) ofB += x.b[o * x.rank + r]! * y.b[o * y.rank + s]!;
      total += ofA * ofB;
    }
  }
  return total;
}

/** The rows of the update that a target's slice adds, computed from our own tensors. */
function sliceUpdate({ lora, tensors }: Adapter, layer: number, target: Family): number[][] {
  const { rank, alpha, targets } = lora;
  const adapted = adaptedMatrices(config, targets).find(
    (each) => each.layer === layer && each.families.some(({ family }) => family === target),
  )!;
  const { inFeatures, families: all } = adapted;
  const i = all.findIndex(({ family }) => family === target);
  const outFeatures = all[i]!.width;
  const a = tensors.get(adapted.a)!.subarray(i * rank * inFeatures, (i + 1) * rank * inFeatures);
  const b = tensors.get(adapted.b)!.subarray(i * outFeatures * rank, (i + 1) * outFeatures * rank);
  return update({ a, b, rank, inFeatures, outFeatures, scale: alpha / rank });
}

describe('adapters', () => {
  test('any targets, rank and alpha come back as they were', () => {
    fc.assert(
      fc.property(
        fc.subarray([...families], { minLength: 1 }),
        fc.constantFrom(1, 2, 3, 8),
        fc.constantFrom(1, 16, 32),
        (targets, rank, alpha) => {
          const adapter = randomAdapter(targets, rank, alpha);
          writeAdapter(folder, adapter);
          const back = readAdapter(folder, config);
          expect(back.lora).toEqual({ rank, alpha: expect.closeTo(alpha, 10), targets });
          expect(back.tensors).toEqual(adapter.tensors);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('as a PEFT adapter it computes the same update, with zero rows where nothing is adapted', () => {
    const adapter = randomAdapter(['q', 'v', 'o'], 2, 6);
    writeAdapter(folder, adapter, { base: 'tiny', dropout: 0.05 });
    const { modules, dropout, base } = readPeft(folder);
    expect([...modules.keys()].sort()).toEqual([
      'h.0.attn.c_attn',
      'h.0.attn.c_proj',
      'h.1.attn.c_attn',
      'h.1.attn.c_proj',
    ]);
    expect([dropout, base]).toEqual([0.05, 'tiny']);
    for (const layer of [0, 1]) {
      const fused = update(modules.get(`h.${layer}.attn.c_attn`)!);
      const zeros = Array.from({ length: 8 }, () => Array<number>(8).fill(0));
      const expected = [...sliceUpdate(adapter, layer, 'q'), ...zeros, ...sliceUpdate(adapter, layer, 'v')];
      for (const [o, row] of fused.entries())
        for (const [i, value] of row.entries()) expect(value).toBeCloseTo(expected[o]![i]!, 5);
    }
    const json = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'));
    expect(json).toMatchObject({
      peft_type: 'LORA',
      r: 2,
      lora_alpha: 6,
      rank_pattern: { 'attn.c_attn': 4 },
      alpha_pattern: { 'attn.c_attn': 12 },
      target_modules: ['attn.c_attn', 'attn.c_proj'],
      fan_in_fan_out: true,
    });
    const names = [...openSafetensors(join(folder, 'adapter_model.safetensors')).tensors.keys()];
    expect(names).toContain('base_model.model.transformer.h.0.attn.c_attn.lora_A.weight');
  });

  test('slices of c_attn alone need no pattern: rank and alpha grow together', () => {
    writeAdapter(folder, randomAdapter(['q', 'v'], 8, 16), { quantizedBase: true });
    const json = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'));
    expect(json).toMatchObject({ r: 16, lora_alpha: 32, rank_pattern: {}, alpha_pattern: {}, fan_in_fan_out: false });
  });

  test('a foreign adapter on c_attn is read as slices that share its A and compute the same', () => {
    const random = new Random(3);
    const numbers = (length: number) => Float32Array.from({ length }, () => random.normal());
    const modules = new Map<string, LoraModule>(
      [0, 1].map((layer) => [
        `h.${layer}.attn.c_attn`,
        { a: numbers(3 * 8), b: numbers(24 * 3), rank: 3, inFeatures: 8, outFeatures: 24, scale: 2 },
      ]),
    );
    writePeft(folder, modules, { base: 'x', fanInFanOut: true, dropout: 0, metadata: {} });
    const adapter = readAdapter(folder, config);
    expect(adapter.lora).toEqual({ rank: 3, alpha: 6, targets: ['q', 'k', 'v'] });
    const joined = (['q', 'k', 'v'] as const).flatMap((target) => sliceUpdate(adapter, 1, target));
    expect(joined).toEqual(update(modules.get('h.1.attn.c_attn')!));
  });

  /** Changes adapter_config.json of a good folder. */
  function withConfig(change: Record<string, unknown>): void {
    writeAdapter(folder, randomAdapter(['o'], 2, 4));
    const path = join(folder, 'adapter_config.json');
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }));
  }

  test('rsLoRA scales by the root of the rank, and patterns name layers by the end of their name', () => {
    withConfig({ use_rslora: true });
    expect(readPeft(folder).modules.get('h.0.attn.c_proj')!.scale).toBeCloseTo(4 / Math.sqrt(2), 12);
    withConfig({ alpha_pattern: { 'h.1.attn.c_proj': 10 } });
    const scales = [0, 1].map((layer) => readPeft(folder).modules.get(`h.${layer}.attn.c_proj`)!.scale);
    expect(scales).toEqual([2, 5]);
    expect(() => readAdapter(folder, config)).toThrow(/rank and scale must be the same/);
  });

  test.each([
    [{ peft_type: 'IA3' }, /peft_type is "IA3"/],
    [{ use_dora: true }, /use_dora is true/],
    [{ bias: 'all' }, /bias is "all"/],
    [{ modules_to_save: ['lm_head'] }, /modules_to_save/],
    [{ r: 3 }, /has rank 2, but .* says 3/],
    [{ lora_alpha: 'x' }, /lora_alpha is "x"/],
  ])('%j is refused', (change, message) => {
    withConfig(change);
    expect(() => readPeft(folder)).toThrow(message);
  });

  test('an adapter of another model, a broken weight, and a missing half are refused', () => {
    writeAdapter(folder, randomAdapter(['o'], 2, 4));
    expect(() => readAdapter(folder, { ...config, width: 16 })).toThrow(
      /is for 8 inputs and 8 outputs; the model has 16 and 16/,
    );
    expect(() => readAdapter(folder, { ...config, layers: 1 })).toThrow(
      /'h\.1\.attn\.c_proj' has no place in a GPT-2 of 1 layers/,
    );
    expect(() => readAdapter(folder, { ...config, layers: 3 })).toThrow(/there is no adapter on 'h\.2\.attn\.c_proj'/);
    const path = join(folder, 'adapter_model.safetensors');
    const file = openSafetensors(path);
    const tensors = new Map([...file.tensors.keys()].map((name) => [name, file.read(name)]));
    const name = 'base_model.model.transformer.h.1.attn.c_proj.lora_B.weight';
    (tensors.get(name)!.data as Float32Array)[3] = Number.NaN;
    writeSafetensors(path, tensors);
    expect(() => readPeft(folder)).toThrow(/lora_B\.weight' holds NaN at element 3/);
    tensors.delete(name);
    writeSafetensors(path, tensors);
    expect(() => readPeft(folder)).toThrow(/'h\.1\.attn\.c_proj' has no lora_B/);
    expect(() => readPeft(join(folder, 'none'))).toThrow(/there is no adapter_config\.json/);
  });

  const published = join(import.meta.dirname, '../../shared/data/published-adapters');
  test.skipIf(!existsSync(published))(
    'published adapters of GPT-2 Medium: their B A compare as was published (skipped where ../shared/data/published-adapters is absent)',
    () => {
      const [lora, qlora] = ['lora-r8', 'qlora-r8'].map((name) => readPeft(join(published, name)));
      expect(lora!.modules.size).toBe(24);
      expect(lora!.modules.get('h.23.attn.c_attn')).toMatchObject({
        rank: 8,
        inFeatures: 1024,
        outFeatures: 3072,
        scale: 2,
      });
      const figures = { 0: [0.8947, 0.6073], 12: [0.8879, 0.7868], 23: [0.8958, 1.0054] } as const;
      for (const [layer, [cosine, distance]] of Object.entries(figures)) {
        const [x, y] = [lora!, qlora!].map(({ modules }) => modules.get(`h.${layer}.attn.c_attn`)!) as [
          LoraModule,
          LoraModule,
        ];
        expect(inner(x, y) / Math.sqrt(inner(x, x) * inner(y, y))).toBeCloseTo(cosine, 3);
        expect(Math.sqrt(inner(x, x) + inner(y, y) - 2 * inner(x, y))).toBeCloseTo(distance, 3);
      }
      const slices = readAdapter(join(published, 'lora-r8'), publishedConfigs['gpt2-medium']);
      expect(slices.lora).toEqual({ rank: 8, alpha: 16, targets: ['q', 'k', 'v'] });
    },
  );
});
