/** A LoRA adapter in PEFT's folder format, module by module: adapter_config.json and adapter_model.safetensors. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { FormatError } from './format_error.ts';
import { readJson, writeJson } from './json.ts';
import { openSafetensors, type SafetensorsFile, type Tensor, writeSafetensors } from './safetensors.ts';

/** The adapter of one linear layer: its output grows by scale * (x Aᵀ) Bᵀ. */
export interface LoraModule {
  /** [rank, inFeatures] */
  readonly a: Float32Array;
  /** [outFeatures, rank] */
  readonly b: Float32Array;
  readonly rank: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** alpha / rank (alpha / sqrt(rank) in an adapter made with rsLoRA). */
  readonly scale: number;
}

/** A PEFT folder's content. */
export interface PeftAdapter {
  /** By the layer's name without `base_model.model.transformer.`: `h.0.attn.c_attn`. */
  readonly modules: ReadonlyMap<string, LoraModule>;
  readonly dropout: number;
  /** What adapter_config.json calls the base model, if anything. */
  readonly base: string | null;
  /** Notes of the safetensors file. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads any PEFT LoRA folder.
 * @throws FormatError for a missing or malformed file, an adapter of another kind (DoRA, trained biases, saved modules),
 *   A and B that do not fit, a rank that is not the configuration's, and NaN or infinity.
 */
export function readPeft(folder: string): PeftAdapter {
  const path = join(folder, 'adapter_config.json');
  const weights = join(folder, 'adapter_model.safetensors');
  for (const file of [path, weights]) {
    if (!existsSync(file))
      throw new FormatError(folder, `there is no ${file.slice(folder.length + 1)}: not a PEFT adapter folder`);
  }
  const config = parseConfig(readJson(path), path);
  const file = openSafetensors(weights);
  const modules = new Map<string, LoraModule>();
  for (const [name, pair] of pairs(file)) modules.set(name, readModule(file, name, pair, config));
  if (modules.size === 0) throw new FormatError(weights, 'there is no lora_A in it');
  return { modules, dropout: config.dropout, base: config.base, metadata: file.metadata };
}

interface PeftConfig {
  readonly path: string;
  readonly rank: (module: string) => number;
  readonly alpha: (module: string) => number;
  readonly rootScaled: boolean;
  readonly dropout: number;
  readonly base: string | null;
}

function parseConfig(json: unknown, path: string): PeftConfig {
  if (typeof json !== 'object' || json === null) throw new FormatError(path, 'a JSON object is expected');
  const given = json as Record<string, unknown>;
  if (given.peft_type !== 'LORA')
    throw new FormatError(path, `peft_type is ${JSON.stringify(given.peft_type)}; only 'LORA' is supported`);
  // Each of these changes what the adapter computes; absent and falsy both mean that it is not used.
  for (const key of [
    'use_dora',
    'lora_bias',
    'modules_to_save',
    'layer_replication',
    'use_qalora',
    'trainable_token_indices',
  ]) {
    if (given[key])
      throw new FormatError(path, `${key} is ${JSON.stringify(given[key])}: such adapters are not supported`);
  }
  if (given.bias !== undefined && given.bias !== 'none')
    throw new FormatError(path, `bias is ${JSON.stringify(given.bias)}; only 'none' is supported`);
  const positive = (key: string): number => {
    const value = given[key];
    if (typeof value !== 'number' || !(value > 0))
      throw new FormatError(path, `${key} is ${JSON.stringify(value)}; a positive number is expected`);
    return value;
  };
  return {
    path,
    rank: byPattern(given.rank_pattern, positive('r'), path),
    alpha: byPattern(given.alpha_pattern, positive('lora_alpha'), path),
    rootScaled: given.use_rslora === true,
    dropout: typeof given.lora_dropout === 'number' ? given.lora_dropout : 0,
    base: typeof given.base_model_name_or_path === 'string' ? given.base_model_name_or_path : null,
  };
}

/** PEFT's patterns: the first key that, as a regular expression, matches the end of a module's name gives its value. */
function byPattern(patterns: unknown, otherwise: number, path: string): (module: string) => number {
  const known = Object.entries((patterns ?? {}) as Record<string, number>).map(([key, value]) => {
    try {
      return { expression: new RegExp(`^(.*\\.)?(${key})$`), value };
    } catch (cause) {
      throw new FormatError(path, `the pattern '${key}' is not a regular expression`, { cause });
    }
  });
  return (module) => known.find(({ expression }) => expression.test(module))?.value ?? otherwise;
}

/** The two tensors' names of each module. */
function pairs(file: SafetensorsFile): Map<string, { a: string; b: string }> {
  const found = new Map<string, { a?: string; b?: string }>();
  for (const stored of file.tensors.keys()) {
    const match = /^base_model\.model\.(?:transformer\.)?(.+)\.lora_([AB])\.weight$/.exec(stored);
    if (match === null) throw new FormatError(file.path, `tensor '${stored}' is no lora_A or lora_B of a linear layer`);
    const [, name, letter] = match as unknown as [string, string, string];
    found.set(name, { ...found.get(name), [letter.toLowerCase()]: stored });
  }
  for (const [name, { a, b }] of found) {
    if (a === undefined || b === undefined)
      throw new FormatError(file.path, `'${name}' has no lora_${a === undefined ? 'A' : 'B'}`);
  }
  return found as Map<string, { a: string; b: string }>;
}

function readModule(
  file: SafetensorsFile,
  name: string,
  pair: { a: string; b: string },
  config: PeftConfig,
): LoraModule {
  const [a, b] = [readMatrix(file, pair.a), readMatrix(file, pair.b)];
  const [rank, inFeatures] = a.shape;
  const [outFeatures, columns] = b.shape;
  if (rank !== columns) {
    throw new FormatError(
      file.path,
      `'${name}': lora_A is [${a.shape.join(', ')}] and lora_B [${b.shape.join(', ')}]; A's rows must be B's columns`,
    );
  }
  const stated = config.rank(name);
  if (stated !== rank)
    throw new FormatError(file.path, `'${name}' has rank ${rank}, but ${config.path} says ${stated}`);
  const scale = config.alpha(name) / (config.rootScaled ? Math.sqrt(rank) : rank);
  return { a: a.data, b: b.data, rank, inFeatures, outFeatures, scale };
}

function readMatrix(file: SafetensorsFile, stored: string): { shape: [number, number]; data: Float32Array } {
  const { shape, data } = file.readFloat32(stored);
  if (shape.length !== 2)
    throw new FormatError(file.path, `tensor '${stored}' is [${shape.join(', ')}]; a matrix is needed`);
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad !== -1)
    throw new FormatError(file.path, `tensor '${stored}' holds ${data[bad]} at element ${bad}: the adapter is broken`);
  return { shape: shape as [number, number], data };
}

/** What adapter_config.json says besides the modules. */
export interface PeftNotes {
  /** Name or path of the base model. */
  readonly base: string | null;
  /** Whether the base's matrices are Conv1D, [in, out], as in a GPT-2 that is not quantized. */
  readonly fanInFanOut: boolean;
  readonly dropout: number;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Writes a PEFT folder; the same adapter gives the same bytes. Ranks and scales may differ between kinds of layers
 * (`attn.c_attn`, `mlp.c_fc`), not between layers of a kind.
 * @throws RangeError when they do.
 */
export function writePeft(folder: string, modules: ReadonlyMap<string, LoraModule>, notes: PeftNotes): void {
  const tensors = new Map<string, Tensor>();
  for (const [name, { a, b, rank, inFeatures, outFeatures }] of modules) {
    const prefix = `base_model.model.transformer.${name}`;
    tensors.set(`${prefix}.lora_A.weight`, { dtype: 'F32', shape: [rank, inFeatures], data: a });
    tensors.set(`${prefix}.lora_B.weight`, { dtype: 'F32', shape: [outFeatures, rank], data: b });
  }
  const kinds = kindsOf(modules);
  // The smallest rank is the rule and the others exceptions: with one kind of layer there is no exception.
  const [rank, alpha] = [...kinds.values()].reduce((least, kind) => (kind[0] < least[0] ? kind : least));
  const exceptions = (index: 0 | 1, rule: number) =>
    Object.fromEntries(
      [...kinds].filter(([, kind]) => kind[index] !== rule).map(([name, kind]) => [name, kind[index]]),
    );
  mkdirSync(folder, { recursive: true });
  writeJson(join(folder, 'adapter_config.json'), {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: notes.base,
    r: rank,
    lora_alpha: alpha,
    rank_pattern: exceptions(0, rank),
    alpha_pattern: exceptions(1, alpha),
    target_modules: [...kinds.keys()],
    lora_dropout: notes.dropout,
    fan_in_fan_out: notes.fanInFanOut,
    bias: 'none',
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
    use_dora: false,
    use_rslora: false,
  });
  writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors, { ...notes.metadata, format: 'pt' });
}

/** Rank and alpha of each kind of layer, `attn.c_attn` for all of `h.N.attn.c_attn`. */
function kindsOf(modules: ReadonlyMap<string, LoraModule>): Map<string, readonly [rank: number, alpha: number]> {
  const kinds = new Map<string, readonly [number, number]>();
  for (const [name, { rank, scale }] of modules) {
    const kind = name.replace(/^h\.\d+\./, '');
    const known = kinds.get(kind);
    if (known !== undefined && (known[0] !== rank || known[1] !== scale * rank)) {
      throw new RangeError(`the layers '${kind}' have different ranks or scales`);
    }
    kinds.set(kind, [rank, scale * rank]);
  }
  return kinds;
}
