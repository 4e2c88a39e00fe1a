/** This project's adapters, which sit on slices of GPT-2's matrices, as a PEFT folder, whose adapters sit on whole matrices. */
import type { Gpt2Config } from './config.ts';
import { FormatError } from './format_error.ts';
import { type Family, families } from './gpt2.ts';
import { type AdapterSite, adapterSites, type LoraConfig } from './lora.ts';
import { type LoraModule, readPeft, writePeft } from './peft.ts';

/** An adapter of a model of the given sizes. */
export interface Adapter {
  readonly config: Gpt2Config;
  readonly lora: LoraConfig;
  /** A [rank, in] and B [width, rank] of each site, by the names of adapterSites: `h.0.q.lora_A`. */
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
  for (const [matrix, sites] of byMatrix(adapterSites(config, targets))) {
    modules.set(matrix, joinSites(sites, tensors, rank, alpha / rank, outFeatures(matrix, config)));
  }
  const chosen = families.filter((target) => targets.includes(target));
  writePeft(folder, modules, {
    base: training.base ?? null,
    fanInFanOut: !(training.quantizedBase ?? false),
    dropout: training.dropout ?? 0,
    metadata: { [targetsNote]: chosen.join(',') },
  });
}

function byMatrix(sites: readonly AdapterSite[]): Map<string, AdapterSite[]> {
  const groups = new Map<string, AdapterSite[]>();
  for (const site of sites) groups.set(site.matrix, [...(groups.get(site.matrix) ?? []), site]);
  return groups;
}

function outFeatures(matrix: string, { width }: Gpt2Config): number {
  if (matrix.endsWith('attn.c_attn')) return 3 * width;
  return matrix.endsWith('mlp.c_fc') ? 4 * width : width;
}

function joinSites(
  sites: readonly AdapterSite[],
  tensors: ReadonlyMap<string, Float32Array>,
  rank: number,
  scale: number,
  outFeatures: number,
): LoraModule {
  const { inFeatures } = sites[0]!;
  const joined = sites.length * rank;
  const a = new Float32Array(joined * inFeatures);
  const b = new Float32Array(outFeatures * joined);
  for (const [i, site] of sites.entries()) {
    a.set(sized(tensors, site.a, rank * inFeatures), i * rank * inFeatures);
    const slice = sized(tensors, site.b, site.width * rank);
    for (let row = 0; row < site.width; row++) {
      b.set(slice.subarray(row * rank, (row + 1) * rank), (site.offset + row) * joined + i * rank);
    }
  }
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
  const groups = byMatrix(adapterSites(config, targets));
  const unknown = [...modules.keys()].find((name) => !groups.has(name));
  if (unknown !== undefined)
    throw new FormatError(folder, `the adapter on '${unknown}' has no place in a GPT-2 of ${config.layers} layers`);
  const shares = new Set<string>();
  let rank = 0;
  let scale = 0;
  for (const [matrix, sites] of groups) {
    const module = modules.get(matrix);
    if (module === undefined) throw new FormatError(folder, `there is no adapter on '${matrix}'`);
    checkSize(module, sites[0]!, outFeatures(matrix, config), folder);
    const slices = own ? sites.length : 1;
    rank = module.rank / slices;
    scale = module.scale;
    shares.add(`${rank} and ${scale}`);
    for (const [i, site] of sites.entries()) {
      const first = own ? i * rank : 0;
      tensors.set(site.a, module.a.slice(first * module.inFeatures, (first + rank) * module.inFeatures));
      tensors.set(site.b, sliceB(module, site, first, rank));
    }
    if (own) checkZeros(module, sites, rank, folder);
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

function checkSize(module: LoraModule, site: AdapterSite, out: number, folder: string): void {
  if (module.inFeatures !== site.inFeatures || module.outFeatures !== out) {
    throw new FormatError(
      folder,
      `the adapter on '${site.matrix}' is for ${module.inFeatures} inputs and ${module.outFeatures} outputs; the model has ${site.inFeatures} and ${out}`,
    );
  }
}

function sliceB({ b, rank: columns }: LoraModule, site: AdapterSite, first: number, rank: number): Float32Array {
  const slice = new Float32Array(site.width * rank);
  for (let row = 0; row < site.width; row++) {
    const start = (site.offset + row) * columns + first;
    slice.set(b.subarray(start, start + rank), row * rank);
  }
  return slice;
}

/** Outside the slices B must be zero, or the slices would not be the whole adapter. */
function checkZeros(
  { b, rank: columns, outFeatures }: LoraModule,
  sites: readonly AdapterSite[],
  rank: number,
  folder: string,
): void {
  for (let row = 0; row < outFeatures; row++) {
    const slice = sites.findIndex(({ offset, width }) => row >= offset && row < offset + width);
    for (let column = 0; column < columns; column++) {
      if (Math.floor(column / rank) !== slice && b[row * columns + column] !== 0) {
        throw new FormatError(
          folder,
          `lora_B of '${sites[0]!.matrix}' is not zero at [${row}, ${column}], outside the slices that it was made of`,
        );
      }
    }
  }
}
