/** Stage: what quantization changed in a base, beside what an adapter changes: does the adapter repair it? */
import { defineStage, StageError } from '../engine/stage.ts';
import { isMatrix } from '../model/checkpoint.ts';
import { roundToBfloat16 } from '../model/float16.ts';
import { families, familyRows } from '../model/gpt2.ts';
import { writeJson } from '../model/json.ts';
import { innerProduct, isZero, type LowRank, productWithMatrix, rowsOf } from '../model/low_rank.ts';
import { dequantize, dequantizeAbsmax } from '../model/nf4.ts';
import { readPeft } from '../model/peft.ts';
import { type CheckpointWeight, readQuantizedCheckpoint } from '../model/quantized_checkpoint.ts';
import { refusingBadInput } from './shared/bad_input.ts';

/** One family of one layer that an adapter sits on. Squares of Frobenius norms, so that families can be added up. */
export interface FamilyError {
  readonly layer: number;
  readonly family: string;
  /** |W|², |E|² of E = dq(W) - W, and |B A|² with the scale alpha / r. */
  readonly weight: number;
  readonly error: number;
  readonly update: number;
  /** <B A, -E>: what of the error the adapter takes back. */
  readonly repair: number;
}

export default defineStage({
  description:
    "Quantization's error E = dq(W) - W beside an adapter's update B A: their sizes, and the cosine of B A and -E.",
  params: {},
  inputs: {
    base: { description: 'Checkpoint folder, 16-bit.' },
    quantized: { description: 'Checkpoint folder: the same, quantized.' },
    adapter: { description: 'PEFT folder.' },
  },
  outputs: {
    errors: {
      path: 'errors.json',
      description: 'Of each family of each layer that has an adapter, and |E|² of the model.',
    },
  },
  async run({ inputs, outputs, progress }) {
    const { base, quantized, modules } = await refusingBadInput(() => ({
      base: readQuantizedCheckpoint(inputs.base),
      quantized: readQuantizedCheckpoint(inputs.quantized),
      modules: readPeft(inputs.adapter).modules,
    }));
    const found: FamilyError[] = [];
    let errorOfModel = 0;
    const sites = familyRows(base.config, families);
    const matrices = [...base.weights.keys()].filter(isMatrix);
    for (const [i, name] of matrices.entries()) {
      progress(i, matrices.length);
      const weight = dense(base.weights.get(name)!);
      const approximation = dense(required(quantized.weights.get(name), name, inputs.quantized));
      if (approximation.length !== weight.length)
        throw new StageError(`${name} has another size in ${inputs.quantized}: give the same model, quantized`);
      const error = approximation.map((x, at) => x - weight[at]!);
      errorOfModel += square(error);
      const matrix = name.replace(/\.weight$/, '');
      const module = modules.get(matrix);
      if (module === undefined) continue;
      for (const { layer, family, offset, width, inFeatures } of sites.filter((site) => site.matrix === matrix)) {
        if (module.inFeatures !== inFeatures)
          throw new StageError(`the adapter on ${matrix} is of a model of another size`);
        const part: LowRank = rowsOf(module, offset, offset + width);
        if (isZero(part)) continue;
        const [start, end] = [offset * inFeatures, (offset + width) * inFeatures];
        found.push({
          layer,
          family,
          weight: square(weight.subarray(start, end)),
          error: square(error.subarray(start, end)),
          update: innerProduct(part, part),
          repair: -productWithMatrix(part, error.subarray(start, end)),
        });
      }
    }
    writeJson(outputs.errors, { format: 1, errorOfModel, families: found });
  },
});

function required(weight: CheckpointWeight | undefined, name: string, folder: string): CheckpointWeight {
  if (weight === undefined) throw new StageError(`${folder} has no ${name}: give the same model, quantized`);
  return weight;
}

/** A matrix as programs compute with it. */
function dense(weight: CheckpointWeight): Float32Array {
  if (weight.kind === 'dense') return roundToBfloat16(weight.data);
  const { absmax } = weight;
  return dequantize({ ...weight, absmax: absmax instanceof Float32Array ? absmax : dequantizeAbsmax(absmax) });
}

function square(values: Float32Array): number {
  return values.reduce((sum, x) => sum + x * x, 0);
}
