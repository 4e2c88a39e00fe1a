/** All that a model computes of a text: what tests of the model ask for, and no stage does. */
import type { Gpt2Config } from '../../model/config.ts';
import { linear } from '../../model/kernels/linear.ts';
import type { LoraConfig } from '../../model/lora.ts';
import type { Matrices } from '../../model/matrix.ts';
import type { Step } from '../../model/scope.ts';
import { hiddenStep } from '../../model/steps.ts';

/** Inputs: tokens and positions int32 [B, T]. Outputs: logits [B * T, V], hidden [B * T, C]. */
export function logitsStep(options: {
  readonly batch: number;
  readonly length: number;
  readonly config: Gpt2Config;
  readonly matrices: Matrices;
  readonly lora?: LoraConfig | undefined;
}): Step<'logits' | 'hidden'> {
  const { vocabSize, width } = options.config;
  return (scope) => {
    const { hidden } = hiddenStep(options)(scope);
    return { logits: linear(hidden, scope.weight('wte.weight', [vocabSize, width], 'bf16', 'weights')), hidden };
  };
}

/** The place of the largest of each row of logits [B, V], the first of equals, looked through one by one. */
export function likeliestOf(logits: ArrayLike<number>, vocabSize: number): Int32Array {
  return Int32Array.from({ length: logits.length / vocabSize }, (_, row) => {
    let top = 0;
    for (let v = 1; v < vocabSize; v++) if (logits[row * vocabSize + v]! > logits[row * vocabSize + top]!) top = v;
    return top;
  });
}
