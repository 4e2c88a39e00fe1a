/** A checkpoint folder, 16-bit or quantized, with an adapter or without, as what steps and programs need of it. */
import type { HostData } from '../../compile/host_access.ts';
import type { Executable } from '../../compile/program.ts';
import { StageError } from '../../engine/stage.ts';
import { readAdapter } from '../../model/adapter.ts';
import type { Gpt2Config } from '../../model/config.ts';
import type { LoraConfig } from '../../model/lora.ts';
import { type Matrices, nf4Parts } from '../../model/matrix.ts';
import { type CheckpointWeight, readQuantizedCheckpoint } from '../../model/quantized_checkpoint.ts';

/** A model that is not trained. */
export interface FrozenModel {
  readonly config: Gpt2Config;
  /** How each matrix is stored. */
  readonly matrices: Matrices;
  /** Whether any matrix is stored as NormalFloat codes. */
  readonly quantized: boolean;
  readonly lora: LoraConfig | undefined;
  /** Writes every weight that the program asks for, under `prefix` and its name. */
  writeTo(program: Executable, prefix?: string): void;
}

/**
 * Reads a checkpoint folder and, if one is given, an adapter folder for it.
 * @throws FormatError for a bad file; StageError for an adapter that does not fit the model.
 */
export function readModel(folder: string, adapterFolder?: string): FrozenModel {
  const { config, weights } = readQuantizedCheckpoint(folder);
  const adapter = adapterFolder === undefined ? undefined : readAdapter(adapterFolder, config);
  return {
    config,
    matrices(name) {
      const weight = weights.get(`${name}.weight`)!;
      if (weight.kind === 'dense') return { kind: 'dense', storage: 'bf16' };
      return { kind: 'nf4', block: weight.block, doubleQuantization: !(weight.absmax instanceof Float32Array) };
    },
    quantized: [...weights.values()].some(({ kind }) => kind === 'nf4'),
    lora: adapter?.lora,
    writeTo(program, prefix = '') {
      const asked = new Set(program.program.buffers.filter(({ role }) => role === 'weight').map(({ name }) => name));
      const write = (name: string, data: HostData) => {
        if (asked.has(prefix + name)) program.write(prefix + name, data);
      };
      for (const [name, weight] of weights) writeWeight(write, name, weight);
      for (const [name, data] of adapter?.tensors ?? []) write(name, data);
    },
  };
}

function writeWeight(write: (name: string, data: HostData) => void, name: string, weight: CheckpointWeight): void {
  if (weight.kind === 'dense') {
    write(name, weight.data);
    return;
  }
  const { absmax } = weight;
  write(name, weight.codes);
  write(name + nf4Parts.codebook, weight.codebook);
  if (absmax instanceof Float32Array) {
    write(name + nf4Parts.absmax, absmax);
    return;
  }
  write(name + nf4Parts.absmax, absmax.codes);
  write(name + nf4Parts.nestedAbsmax, absmax.nestedAbsmax);
  write(name + nf4Parts.nestedCodebook, absmax.nestedCodebook);
  write(name + nf4Parts.offset, Float32Array.of(absmax.offset));
}

/** @throws StageError when a data set was made for another vocabulary than the model's. */
export function refuseOtherVocabulary(model: FrozenModel, dataset: { vocabSize: number }): void {
  if (model.config.vocabSize === dataset.vocabSize) return;
  throw new StageError(
    `the data set was tokenized for a vocabulary of ${dataset.vocabSize}, and the model has ${model.config.vocabSize}: give tokenize the same model`,
  );
}
