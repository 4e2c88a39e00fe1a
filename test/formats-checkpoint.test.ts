/** Checkpoint folders, dense and quantized: names, orientation, what is refused, and bitsandbytes' layout. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type Checkpoint,
  type DenseWeight,
  readCheckpoint,
  transpose,
  weightShapes,
  writeCheckpoint,
} from '../model/checkpoint.ts';
import { type Gpt2Config, parseConfig, publishedConfigs } from '../model/config.ts';
import { roundToBfloat16 } from '../model/float16.ts';
import { quantize, quantizeAbsmax } from '../model/nf4.ts';
import {
  type CheckpointWeight,
  readQuantizedCheckpoint,
  writeQuantizedCheckpoint,
} from '../model/quantized_checkpoint.ts';
import { Random } from '../model/random.ts';
import { openSafetensors, type Tensor, writeSafetensors } from '../model/safetensors.ts';

const root = mkdtempSync(join(tmpdir(), 'pipe-checkpoint-'));
afterAll(() => rmSync(root, { recursive: true }));
let folder: string;
let count = 0;
beforeEach(() => {
  folder = join(root, `${count++}`);
});

const config: Gpt2Config = { vocabSize: 11, contextLength: 6, width: 8, layers: 2, heads: 2, epsilon: 1e-5 };

function randomCheckpoint(seed = 1): Checkpoint {
  const random = new Random(seed);
  const weights = new Map<string, DenseWeight>();
  for (const [name, shape] of weightShapes(config)) {
    const length = shape.reduce((product, size) => product * size, 1);
    weights.set(name, { kind: 'dense', shape, data: Float32Array.from({ length }, () => random.normal()) });
  }
  return { config, weights };
}

/** Rewrites the safetensors file of the folder. */
function rewrite(change: (tensors: Map<string, Tensor>) => void): void {
  const file = openSafetensors(join(folder, 'model.safetensors'));
  const tensors = new Map([...file.tensors.keys()].map((name) => [name, file.read(name)]));
  change(tensors);
  writeSafetensors(join(folder, 'model.safetensors'), tensors);
}

describe('checkpoint', () => {
  test('the published parameter counts follow from the shapes', () => {
    const parameters = (c: Gpt2Config) =>
      [...weightShapes(c).values()].reduce((sum, shape) => sum + shape.reduce((product, size) => product * size, 1), 0);
    expect(parameters(publishedConfigs.gpt2)).toBe(124_439_808);
    expect(parameters(publishedConfigs['gpt2-medium'])).toBe(354_823_168);
  });

  test('what is written comes back, in each storage rounded to it, and equal weights give equal bytes', () => {
    const checkpoint = randomCheckpoint();
    writeCheckpoint(folder, checkpoint, 'F32');
    expect(readCheckpoint(folder)).toEqual(checkpoint);
    const first = readFileSync(join(folder, 'model.safetensors'));
    writeCheckpoint(folder, checkpoint, 'F32');
    expect(readFileSync(join(folder, 'model.safetensors')).equals(first)).toBe(true);

    writeCheckpoint(folder, checkpoint, 'BF16');
    const half = readCheckpoint(folder);
    for (const [name, { data }] of checkpoint.weights)
      expect(half.weights.get(name)!.data).toEqual(roundToBfloat16(data));
  });

  test('linear layers are Conv1D [in, out] on disk and [out, in] in memory; embeddings are as they are', () => {
    const checkpoint = randomCheckpoint();
    writeCheckpoint(folder, checkpoint, 'F32');
    const file = openSafetensors(join(folder, 'model.safetensors'));
    const stored = file.readFloat32('transformer.h.1.attn.c_attn.weight');
    expect(stored.shape).toEqual([8, 24]);
    const ours = checkpoint.weights.get('h.1.attn.c_attn.weight')!;
    expect(ours.shape).toEqual([24, 8]);
    for (const [i, o] of [
      [0, 0],
      [3, 17],
      [7, 23],
    ] as const)
      expect(stored.data[i * 24 + o]).toBe(ours.data[o * 8 + i]);
    expect(file.readFloat32('transformer.wte.weight').data).toEqual(checkpoint.weights.get('wte.weight')!.data);
  });

  test('names without the prefix, a tied head and attention masks are read as well', () => {
    const checkpoint = randomCheckpoint();
    writeCheckpoint(folder, checkpoint, 'F32');
    rewrite((tensors) => {
      for (const [name, tensor] of [...tensors]) {
        tensors.delete(name);
        tensors.set(name.replace('transformer.', ''), tensor);
      }
      tensors.set('lm_head.weight', tensors.get('wte.weight')!);
      tensors.set('h.0.attn.bias', { dtype: 'U8', shape: [1, 1, 2, 2], data: Uint8Array.of(1, 0, 1, 1) });
    });
    expect(readCheckpoint(folder)).toEqual(checkpoint);
  });

  test('a checkpoint in shards is read through its index, and a missing or wrong shard is refused', () => {
    const checkpoint = randomCheckpoint();
    writeCheckpoint(folder, checkpoint, 'F32');
    const whole = openSafetensors(join(folder, 'model.safetensors'));
    const names = [...whole.tensors.keys()];
    const shard = (name: string) =>
      names.indexOf(name) % 2 === 0 ? 'model-00001-of-00002.safetensors' : 'model-00002-of-00002.safetensors';
    for (const file of new Set(names.map(shard))) {
      writeSafetensors(
        join(folder, file),
        new Map(names.filter((name) => shard(name) === file).map((name) => [name, whole.read(name)])),
      );
    }
    rmSync(join(folder, 'model.safetensors'));
    const index = join(folder, 'model.safetensors.index.json');
    const map = Object.fromEntries(names.map((name) => [name, shard(name)]));
    writeFileSync(index, JSON.stringify({ metadata: {}, weight_map: map }));
    expect(readCheckpoint(folder)).toEqual(checkpoint);

    writeFileSync(index, JSON.stringify({ weight_map: { ...map, [names[0]!]: shard(names[1]!) } }));
    expect(() => readCheckpoint(folder)).toThrow(/is missing, though the index says it is here/);
    writeFileSync(index, JSON.stringify({ weight_map: { ...map, [names[0]!]: '../x.safetensors' } }));
    expect(() => readCheckpoint(folder)).toThrow(/is not a file of this folder/);
    rmSync(join(folder, shard(names[1]!)));
    writeFileSync(index, JSON.stringify({ weight_map: map }));
    expect(() => readCheckpoint(folder)).toThrow(/the shard 'model-00002-of-00002\.safetensors'.* is missing/);
  });

  test.each([Number.NaN, Infinity, -Infinity])('a weight of %d is refused with its name and place', (bad) => {
    writeCheckpoint(folder, randomCheckpoint(), 'F32');
    rewrite((tensors) => {
      (tensors.get('transformer.h.1.mlp.c_fc.weight')!.data as Float32Array)[5] = bad;
    });
    expect(() => readCheckpoint(folder)).toThrow(
      /model\.safetensors: 'transformer\.h\.1\.mlp\.c_fc\.weight' holds -?(NaN|Infinity) at element 5/,
    );
  });

  test('a missing weight, another shape, integers, and another config are refused', () => {
    writeCheckpoint(folder, randomCheckpoint(), 'F32');
    rewrite((tensors) => tensors.delete('transformer.ln_f.bias'));
    expect(() => readCheckpoint(folder)).toThrow(/the weight 'ln_f\.bias' is missing/);

    writeCheckpoint(folder, randomCheckpoint(), 'F32');
    rewrite((tensors) => {
      const { data } = tensors.get('transformer.h.0.mlp.c_fc.weight')!;
      tensors.set('transformer.h.0.mlp.c_fc.weight', { dtype: 'F32', shape: [32, 8], data: data as Float32Array });
    });
    expect(() => readCheckpoint(folder)).toThrow(/c_fc\.weight' is \[32, 8\]; config\.json makes it \[8, 32\]/);

    writeCheckpoint(folder, randomCheckpoint(), 'F32');
    rewrite((tensors) => tensors.set('transformer.ln_f.bias', { dtype: 'I32', shape: [8], data: new Int32Array(8) }));
    expect(() => readCheckpoint(folder)).toThrow(/'transformer\.ln_f\.bias' is I32/);

    expect(() => readCheckpoint(root)).toThrow(/there is no config\.json/);
    rmSync(join(folder, 'model.safetensors'));
    expect(() => readCheckpoint(folder)).toThrow(/there is no model\.safetensors/);
  });

  test('options that change what the model computes are refused', () => {
    writeCheckpoint(folder, randomCheckpoint(), 'F32');
    const json = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    expect(parseConfig(json, 'config.json')).toEqual(config);
    for (const [change, message] of [
      [{ model_type: 'llama' }, /model_type is "llama"/],
      [{ activation_function: 'relu' }, /activation_function is "relu"; supported is "gelu_new"/],
      [{ n_inner: 10 }, /n_inner is 10/],
      [{ scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx/],
      [{ n_head: 3 }, /n_embd 8 is not a multiple of n_head 3/],
      [{ n_layer: 'two' }, /n_layer is "two"; a positive integer/],
    ] as const) {
      expect(() => parseConfig({ ...json, ...change }, 'config.json')).toThrow(message);
    }
  });

  test('writing refuses what is not this model', () => {
    const { weights } = randomCheckpoint();
    const extra = new Map(weights).set('h.2.ln_1.bias', weights.get('h.1.ln_1.bias')!);
    expect(() => writeCheckpoint(folder, { config, weights: extra }, 'F32')).toThrow(
      /of 2 layers has no weight 'h\.2\.ln_1\.bias'/,
    );
    const fewer = new Map(weights);
    fewer.delete('wpe.weight');
    expect(() => writeCheckpoint(folder, { config, weights: fewer }, 'F32')).toThrow(/'wpe\.weight' is missing/);
  });

  test('the transpose of any shape', () => {
    for (const [rows, columns] of [
      [1, 1],
      [33, 31],
      [64, 3],
      [5, 70],
    ] as const) {
      const data = Float32Array.from({ length: rows * columns }, (_, i) => i);
      const out = transpose(data, rows, columns);
      for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) expect(out[c * rows + r]).toBe(r * columns + c);
    }
  });
});

describe('quantized checkpoint', () => {
  /** Some matrices quantized, with plain and with nested scales, others dense. */
  function mixed(): ReadonlyMap<string, CheckpointWeight> {
    const weights = new Map<string, CheckpointWeight>();
    for (const [name, weight] of randomCheckpoint().weights) {
      weights.set(name, { ...weight, data: roundToBfloat16(weight.data) });
      if (!/c_attn\.weight|c_fc\.weight/.test(name)) continue;
      const quantized = quantize(weight.data, 8, name.includes('h.1.') ? 3 : 4);
      const nested = name.includes('c_fc');
      weights.set(name, {
        kind: 'nf4',
        shape: weight.shape,
        ...quantized,
        absmax: nested ? quantizeAbsmax(quantized.absmax) : quantized.absmax,
      });
    }
    return weights;
  }

  test('dense, quantized and doubly quantized matrices come back as they were', () => {
    const weights = mixed();
    writeQuantizedCheckpoint(folder, { config, weights });
    expect(readQuantizedCheckpoint(folder)).toEqual({ config, weights });
  });

  test('the layout is that of bitsandbytes, its JSON spaced as Python spaces it', () => {
    const weights = mixed();
    writeQuantizedCheckpoint(folder, { config, weights });
    const file = openSafetensors(join(folder, 'model.safetensors'));
    const name = 'transformer.h.0.mlp.c_fc.weight';
    const shapes = Object.fromEntries(
      [...file.tensors]
        .filter(([n]) => n.startsWith(name))
        .map(([n, { dtype, shape }]) => [n.slice(name.length), [dtype, ...shape]]),
    );
    expect(shapes).toEqual({
      '': ['U8', 128, 1],
      '.absmax': ['U8', 32],
      '.nested_absmax': ['F32', 1],
      '.nested_quant_map': ['F32', 256],
      '.quant_map': ['F32', 16],
      '.quant_state.bitsandbytes__nf4': ['U8', expect.any(Number)],
    });
    const state = Buffer.from(file.read(`${name}.quant_state.bitsandbytes__nf4`).data as Uint8Array).toString();
    expect(state).toMatch(
      /^\{"quant_type": "nf4", "blocksize": 8, "dtype": "bfloat16", "shape": \[32, 8\], "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": [\d.]+\}$/,
    );
    const json = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
    expect(json.quantization_config).toMatchObject({
      quant_method: 'bitsandbytes',
      load_in_4bit: true,
      bnb_4bit_quant_type: 'nf4',
    });
    expect(json.quantization_config.llm_int8_skip_modules).toEqual([
      'lm_head',
      'transformer.h.0.attn.c_proj',
      'transformer.h.0.mlp.c_proj',
      'transformer.h.1.attn.c_proj',
      'transformer.h.1.mlp.c_proj',
    ]);
    // Narrower codebooks bear another name, so that bitsandbytes refuses them.
    expect(file.tensors.has('transformer.h.1.attn.c_attn.weight.quant_state.bitsandbytes__nf3')).toBe(true);
  });

  test('a folder as bitsandbytes leaves it is read: field order and extra fields do not matter', () => {
    writeQuantizedCheckpoint(folder, { config, weights: mixed() });
    const before = readQuantizedCheckpoint(folder);
    rewrite((tensors) => {
      for (const [name, tensor] of [...tensors]) {
        if (!name.includes('quant_state')) continue;
        const state = JSON.parse(Buffer.from(tensor.data as Uint8Array).toString());
        const data = new Uint8Array(
          Buffer.from(JSON.stringify(Object.fromEntries(Object.entries({ ...state, extra: 1 }).reverse()))),
        );
        tensors.set(name, { dtype: 'U8', shape: [data.length], data });
      }
    });
    expect(readQuantizedCheckpoint(folder)).toEqual(before);
  });

  test('a folder without quantized matrices reads as a checkpoint, and the dense reader refuses quantized ones', () => {
    const checkpoint = randomCheckpoint();
    writeCheckpoint(folder, checkpoint, 'F32');
    expect(readQuantizedCheckpoint(folder)).toEqual(checkpoint);
    writeQuantizedCheckpoint(folder, { config, weights: mixed() });
    expect(() => readCheckpoint(folder)).toThrow(/c_attn\.weight' is quantized/);
  });

  const name = 'transformer.h.0.mlp.c_fc.weight';
  test.each([
    [
      'a missing part',
      (t: Map<string, Tensor>) => t.delete(`${name}.quant_map`),
      /'h\.0\.mlp\.c_fc\.weight\.quant_map' is missing/,
    ],
    [
      'scales of another count',
      (t: Map<string, Tensor>) => t.set(`${name}.absmax`, { dtype: 'U8', shape: [3], data: new Uint8Array(3) }),
      /absmax' is U8 of 3 elements; U8 of 32/,
    ],
    [
      'no quant_state',
      (t: Map<string, Tensor>) => t.delete(`${name}.quant_state.bitsandbytes__nf4`),
      /has no quant_state of type nf2, nf3, nf4/,
    ],
    [
      'broken scales',
      (t: Map<string, Tensor>) =>
        t.set(`${name}.nested_absmax`, { dtype: 'F32', shape: [1], data: Float32Array.of(Number.NaN) }),
      /scale 0 is NaN/,
    ],
    [
      'another shape',
      (t: Map<string, Tensor>) =>
        t.set(`${name}.quant_state.bitsandbytes__nf4`, jsonTensor({ quant_type: 'nf4', blocksize: 8, shape: [8, 32] })),
      /quant_state says \[8, 32\]; config\.json makes it \[32, 8\]/,
    ],
    [
      'blocks that do not divide',
      (t: Map<string, Tensor>) =>
        t.set(
          `${name}.quant_state.bitsandbytes__nf4`,
          jsonTensor({ quant_type: 'nf4', blocksize: 64, shape: [32, 8] }),
        ),
      /blocks of 64 do not divide its rows of 8/,
    ],
    [
      'a state that is no JSON',
      (t: Map<string, Tensor>) =>
        t.set(`${name}.quant_state.bitsandbytes__nf4`, { dtype: 'U8', shape: [1], data: Uint8Array.of(0x7b) }),
      /the JSON is cut off/,
    ],
  ])('%s is refused', (_, change, message) => {
    writeQuantizedCheckpoint(folder, { config, weights: mixed() });
    rewrite((tensors) => void change(tensors));
    expect(() => readQuantizedCheckpoint(folder)).toThrow(message);
  });

  function jsonTensor(value: unknown): Tensor {
    const data = new Uint8Array(Buffer.from(JSON.stringify(value)));
    return { dtype: 'U8', shape: [data.length], data };
  }

  test('a copy of the folder is the same checkpoint', () => {
    writeQuantizedCheckpoint(folder, { config, weights: mixed() });
    cpSync(folder, `${folder}-copy`, { recursive: true });
    expect(readQuantizedCheckpoint(`${folder}-copy`)).toEqual(readQuantizedCheckpoint(folder));
  });
});
