/** This project's adapters, which sit on slices of GPT-2's matrices, as a PEFT folder, whose adapters sit on whole matrices. */
import type { Gpt2Config } from './config.ts';
import { FormatError } from './format_error.ts';
import { type Family, type FamilyRows, families } from './gpt2.ts';
import { type AdaptedMatrix, adaptedMatrices, type LoraConfig } from './lora.ts';
import { type LoraModule, readPeft, writePeft } from './peft.ts';

/** An adapter of a model of the given sizes. */
export interface Adapter {
  readonly config: Gpt2Config;
  readonly lora: LoraConfig;
  /** A [families * rank, in] and B [families * width, rank] of each matrix, by the names of adaptedMatrices. */
  readonly tensors: ReadonlyMap<string, Float32Array>;
}

/** How an adapter was trained, for adapter_config.json; nothing that it computes depends on it. */
export interface AdapterTraining {
  /** Name or path of the base model. */
  readonly base?: string;
  /** Whether the base's matrices are quantized (and so not Conv1D). */
  readonly quantizedBase?: boolean;
  /** Dropout rate in training. */
  readonly dropout?: number;
}

/** The entry in the safetensors file's notes that says which slices were adapted; PEFT does not look at it. */
const targetsNote = 'targets';

/**
 * Writes an adapter as a PEFT folder. Slices of one matrix become one adapter of the sum of their ranks: their A stacked, and B with
 * each slice in its own rows and columns and zero elsewhere; alpha grows with the rank, so that alpha / rank stays.
 * @throws RangeError when a tensor is missing or of another size.
 */
export function writeAdapter(folder: string, { config, lora, tensors }: Adapter, training: AdapterTraining = {}): void {
  const { rank, alpha, targets } = lora;
  const modules = new Map<string, LoraModule>();
  for (const adapted of adaptedMatrices(config, targets)) {
    modules.set(adapted.matrix, moduleOf(adapted, tensors, rank, alpha / rank, outFeatures(adapted.matrix, config)));
  }
  const chosen = families.filter((target) => targets.includes(target));
  writePeft(folder, modules, {
    base: training.base ?? null,
    fanInFanOut: !(training.quantizedBase ?? false),
    dropout: training.dropout ?? 0,
    metadata: { [targetsNote]: chosen.join(',') },
  });
}

function outFeatures(matrix: string, { width }: Gpt2Config): number {
  if (matrix.endsWith('attn.c_attn')) return 3 * width;
  return matrix.endsWith('mlp.c_fc') ? 4 * width : width;
}

function moduleOf(
  adapted: AdaptedMatrix,
  tensors: ReadonlyMap<string, Float32Array>,
  rank: number,
  scale: number,
  outFeatures: number,
): LoraModule {
  const { inFeatures, families } = adapted;
  const joined = families.length * rank;
  const a = sized(tensors, adapted.a, joined * inFeatures);
  const slices = sized(tensors, adapted.b, families.length * families[0]!.width * rank);
  const b = new Float32Array(outFeatures * joined);
  families.forEach(({ offset, width }, i) => {
    for (let row = 0; row < width; row++) {
      const slice = slices.subarray((i * width + row) * rank, (i * width + row + 1) * rank);
      b.set(slice, (offset + row) * joined + i * rank);
    }
  });
  return { a, b, rank: joined, inFeatures, outFeatures, scale };
}

function sized(tensors: ReadonlyMap<string, Float32Array>, name: string, count: number): Float32Array {
  const data = tensors.get(name);
  if (data?.length !== count)
    throw new RangeError(`the adapter's '${name}' has ${data?.length ?? 'no'} elements; ${count} are needed`);
  return data;
}

/**
 * Reads a PEFT folder as an adapter on slices. One that writeAdapter wrote comes back as it was; in a foreign one an adapter on
 * c_attn becomes three slices that share its A, which computes the same.
 * @throws FormatError as readPeft, and when the adapter does not fit the model or has ranks or scales that differ.
 */
export function readAdapter(folder: string, config: Gpt2Config): Adapter {
  const { modules, metadata } = readPeft(folder);
  const own = metadata[targetsNote] !== undefined;
  const targets = own ? notedTargets(metadata[targetsNote]!, folder) : foreignTargets(modules);
  const tensors = new Map<string, Float32Array>();
  const matrices = adaptedMatrices(config, targets);
  const unknown = [...modules.keys()].find((name) => !matrices.some(({ matrix }) => matrix === name));
  if (unknown !== undefined)
    throw new FormatError(folder, `the adapter on '${unknown}' has no place in a GPT-2 of ${config.layers} layers`);
  const shares = new Set<string>();
  let rank = 0;
  let scale = 0;
  for (const adapted of matrices) {
    const { matrix, families } = adapted;
    const module = modules.get(matrix);
    if (module === undefined) throw new FormatError(folder, `there is no adapter on '${matrix}'`);
    checkSize(module, adapted, outFeatures(matrix, config), folder);
    rank = module.rank / (own ? families.length : 1);
    scale = module.scale;
    shares.add(`${rank} and ${scale}`);
    tensors.set(adapted.a, own ? module.a : repeated(module.a, families.length));
    tensors.set(adapted.b, slicesOfB(module, families, rank, own));
    if (own) checkZeros(module, families, rank, folder);
  }
  if (shares.size !== 1 || !Number.isInteger(rank)) {
    throw new FormatError(folder, `rank and scale must be the same for all layers; they are ${[...shares].join('; ')}`);
  }
  return { config, lora: { rank, alpha: scale * rank, targets }, tensors };
}

function notedTargets(note: string, folder: string): Family[] {
  return note.split(',').map((name) => {
    const target = families.find((each) => each === name);
    if (target === undefined)
      throw new FormatError(folder, `its note '${targetsNote}' names '${name}'; known are ${families.join(', ')}`);
    return target;
  });
}

function foreignTargets(modules: ReadonlyMap<string, LoraModule>): Family[] {
  const targetsOf: Readonly<Record<string, readonly Family[]>> = {
    'attn.c_attn': ['q', 'k', 'v'],
    'attn.c_proj': ['o'],
    'mlp.c_fc': ['fc'],
    'mlp.c_proj': ['proj'],
  };
  const kinds = new Set([...modules.keys()].map((name) => name.replace(/^h\.\d+\./, '')));
  return [...kinds].flatMap((kind) => targetsOf[kind] ?? []);
}

function checkSize(module: LoraModule, adapted: AdaptedMatrix, out: number, folder: string): void {
  if (module.inFeatures !== adapted.inFeatures || module.outFeatures !== out) {
    throw new FormatError(
      folder,
      `the adapter on '${adapted.matrix}' is for ${module.inFeatures} inputs and ${module.outFeatures} outputs; the model has ${adapted.inFeatures} and ${out}`,
    );
  }
}

/** The same values so many times over. */
function repeated(values: Float32Array, times: number): Float32Array {
  const all = new Float32Array(times * values.length);
  for (let i = 0; i < times; i++) all.set(values, i * values.length);
  return all;
}

/** Each family's rows of B, one family's below the other's: its own columns of them, or all where A is shared. */
function slicesOfB(
  { b, rank: columns }: LoraModule,
  families: readonly FamilyRows[],
  rank: number,
  own: boolean,
): Float32Array {
  const slices = new Float32Array(families.length * families[0]!.width * rank);
  families.forEach(({ offset, width }, i) => {
    for (let row = 0; row < width; row++) {
      const start = (offset + row) * columns + (own ? i * rank : 0);
      slices.set(b.subarray(start, start + rank), (i * width + row) * rank);
    }
  });
  return slices;
}

/** Outside the slices B must be zero, or the slices would not be the whole adapter. */
function checkZeros(
  { b, rank: columns, outFeatures }: LoraModule,
  families: readonly FamilyRows[],
  rank: number,
  folder: string,
): void {
  for (let row = 0; row < outFeatures; row++) {
    const slice = families.findIndex(({ offset, width }) => row >= offset && row < offset + width);
    for (let column = 0; column < columns; column++) {
      if (Math.floor(column / rank) !== slice && b[row * columns + column] !== 0) {
        throw new FormatError(
          folder,
          `lora_B of '${families[0]!.matrix}' is not zero at [${row}, ${column}], outside the slices that it was made of`,
        );
      }
    }
  }
}
