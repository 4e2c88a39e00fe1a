/** The steps that programs are traced from: training adapters, training a whole model, evaluating, generating, and quantizing. */
import type { Gpt2Config } from './config.ts';
import { type Gpt2, type Gpt2Weights, gpt2, hiddenStates, logits } from './gpt2.ts';
import { cachedAttention, cacheWrite } from './kernels/cache.ts';
import { compareLogits } from './kernels/compare_logits.ts';
import { crossEntropy, tokenLogProb } from './kernels/cross_entropy.ts';
import { linear } from './kernels/linear.ts';
import { nf4Absmax, nf4Codes } from './kernels/nf4_quantize.ts';
import { adapterShapes, type LoraConfig, withAdapters } from './lora.ts';
import { frozenWeights, type Matrices } from './matrix.ts';
import { thresholdCount } from './nf4_codebooks.ts';
import { type AdamW, minimize, type Parameter } from './optimizer.ts';
import type { Scope, Step } from './scope.ts';
import { type Tensor, tf } from './tf.ts';

/** How many sequences of how many tokens a step takes. */
interface Batch {
  readonly batch: number;
  readonly length: number;
}

/** A model that is not trained: a frozen base, with adapters or without. */
interface Frozen {
  readonly config: Gpt2Config;
  readonly matrices: Matrices;
  readonly lora?: LoraConfig | undefined;
}

/** Dropout on the adapters' input: the share of elements dropped, and the seed of the masks (an integer in [0, 2^31)). */
interface Dropout {
  readonly rate: number;
  readonly seed: number;
}

/**
 * Trains adapters on a frozen base by one step.
 *
 * Inputs: tokens and positions int32 [B, T]; targets int32 [B * T], negative where there is none; hyper [2], the learning
 * rate and the step counted from 1; step int32 [1], which picks the dropout masks. States: A and B of each adapter, with
 * their moments. Outputs: loss [] and the gradients' norm before clipping [1].
 */
export function loraTrainingStep(
  options: Batch & { config: Gpt2Config; matrices: Matrices; lora: LoraConfig; dropout: Dropout; adamw: AdamW },
): Step<'loss' | 'norm'> {
  const { config, matrices, lora, dropout, adamw } = options;
  return (scope) => {
    const { tokens, positions, targets } = textInputs(scope, options);
    const hyper = scope.input('hyper', [2], 'float32');
    const step = scope.input('step', [1], 'int32');
    const adapters = adapterTensors(config, lora, (name, shape) => scope.state(name, shape, 'adapters'));
    const masks = dropout.rate === 0 ? undefined : { ...dropout, step };
    const model = gpt2(config, withAdapters(frozenWeights(scope, matrices), config, lora, adapters, masks));
    const parameters = Array.from(adapters, ([name, tensor]) => ({ name, tensor, decays: true }));
    const loss = () => crossEntropy(hiddenStates(model, tokens, positions), model.wte, targets);
    return minimize(scope, parameters, loss, hyper, adamw);
  };
}

/**
 * Trains a whole model by one step, on float32 weights. Matrices and embeddings decay; gains and biases do not.
 * Inputs, outputs: as `loraTrainingStep`, without `step`. States: every weight of the model, with its moments.
 */
export function pretrainingStep(options: Batch & { config: Gpt2Config; adamw: AdamW }): Step<'loss' | 'norm'> {
  return (scope) => {
    const { tokens, positions, targets } = textInputs(scope, options);
    const hyper = scope.input('hyper', [2], 'float32');
    const parameters: Parameter[] = [];
    const model = gpt2(options.config, trainedWeights(scope, parameters));
    const loss = () => crossEntropy(hiddenStates(model, tokens, positions), model.wte, targets);
    return minimize(scope, parameters, loss, hyper, options.adamw);
  };
}

/**
 * How likely the model finds each target. Inputs: tokens, positions, targets as in `loraTrainingStep`.
 * Output: logProbs [B * T], in nats, 0 where the target is negative.
 */
export function lossStep(options: Batch & Frozen): Step<'logProbs'> {
  return (scope) => {
    const { tokens, positions, targets } = textInputs(scope, options);
    const model = frozenModel(scope, options);
    return { logProbs: tokenLogProb(hiddenStates(model, tokens, positions), model.wte, targets) };
  };
}

/** What the model makes of a text before its output layer. Inputs: tokens and positions int32 [B, T]. Output: hidden [B * T, C]. */
export function hiddenStep(options: Batch & Frozen): Step<'hidden'> {
  return (scope) => {
    const tokens = scope.input('tokens', [options.batch, options.length], 'int32');
    const positions = scope.input('positions', [options.batch, options.length], 'int32');
    return { hidden: hiddenStates(frozenModel(scope, options), tokens, positions) };
  };
}

/**
 * Compares a model with a reference of its vocabulary, each from its last hidden states. Inputs: hidden [rows, C],
 * reference.hidden [rows, C of the reference], targets int32 [rows]. Weights: wte.weight and reference.wte.weight.
 * Output: compared [rows, 5], as `compareLogits`.
 */
export function comparisonStep(options: {
  readonly rows: number;
  readonly config: Gpt2Config;
  readonly reference: Gpt2Config;
}): Step<'compared'> {
  const { rows, config, reference } = options;
  return (scope) => {
    const targets = scope.input('targets', [rows], 'int32');
    return {
      compared: compareLogits(head(scope, rows, config, ''), head(scope, rows, reference, 'reference.'), targets),
    };
  };
}

/**
 * Generates: takes one token of each sequence and gives the logits of the next. Prompts are fed token by token too.
 * Inputs: tokens int32 [B, 1]; positions int32 [B], each token's place, below `capacity`. States: `h.0.attn.keys` and
 * `h.0.attn.values` [B, capacity, C] and so on; rows after a sequence's position are never read. Outputs: logits [B, V], and
 * the most likely next token, likeliest int32 [B], the first of equals.
 */
export function decodeStep(options: Frozen & { batch: number; capacity: number }): Step<'logits' | 'likeliest'> {
  const { config, batch, capacity } = options;
  return (scope) => {
    const tokens = scope.input('tokens', [batch, 1], 'int32');
    const positions = scope.input('positions', [batch], 'int32');
    const cached = (qkv: Tensor, layer: number, part: 'keys' | 'values'): Tensor => {
      const cache = scope.state(`h.${layer}.attn.${part}`, [batch, capacity, config.width], 'activations');
      const written = cacheWrite(cache, qkv, positions, part === 'keys' ? 1 : 2);
      scope.update(cache, written);
      return written;
    };
    const attention = (qkv: Tensor, layer: number) =>
      cachedAttention(qkv, cached(qkv, layer, 'keys'), cached(qkv, layer, 'values'), positions, config.heads);
    const model = frozenModel(scope, options);
    const scores = logits(model, hiddenStates(model, tokens, tf.reshape(positions, [batch, 1]), attention));
    return { logits: scores, likeliest: tf.argMax(scores, 1) };
  };
}

/**
 * Quantizes n numbers to codes of four bits (QLoRA: Dettmers et al. 2023, section 3), in blocks that share a scale.
 *
 * Inputs: w [n], finite; thresholds [15], `codeThresholds` of a codebook. Outputs: absmax [n / block] and codes, uint8 [n / 2].
 */
export function quantizationStep({
  n,
  block,
}: {
  readonly n: number;
  readonly block: number;
}): Step<'absmax' | 'codes'> {
  return (scope) => {
    const w = scope.input('w', [n], 'float32');
    const absmax = nf4Absmax(w, block);
    return { absmax, codes: nf4Codes(w, absmax, scope.input('thresholds', [thresholdCount], 'float32'), block) };
  };
}

/** The logits [rows, V] of an input `hidden`, by a table `wte.weight`, both with a prefix to their names. */
function head(scope: Scope, rows: number, { width, vocabSize }: Gpt2Config, prefix: string): Tensor {
  const hidden = scope.input(`${prefix}hidden`, [rows, width], 'float32');
  return linear(hidden, scope.weight(`${prefix}wte.weight`, [vocabSize, width], 'bf16', 'weights'));
}

function textInputs(scope: Scope, { batch, length }: Batch): Record<'tokens' | 'positions' | 'targets', Tensor> {
  return {
    tokens: scope.input('tokens', [batch, length], 'int32'),
    positions: scope.input('positions', [batch, length], 'int32'),
    targets: scope.input('targets', [batch * length], 'int32'),
  };
}

function frozenModel(scope: Scope, { config, matrices, lora }: Frozen): Gpt2 {
  const base = frozenWeights(scope, matrices);
  if (lora === undefined) return gpt2(config, base);
  const adapters = adapterTensors(config, lora, (name, shape) => scope.weight(name, shape, 'float32', 'adapters'));
  return gpt2(config, withAdapters(base, config, lora, adapters));
}

function adapterTensors(
  config: Gpt2Config,
  lora: LoraConfig,
  ask: (name: string, shape: readonly number[]) => Tensor,
): Map<string, Tensor> {
  return new Map(Array.from(adapterShapes(config, lora), ([name, shape]) => [name, ask(name, shape)]));
}

/** Weights as states, each added to `parameters` as it is asked for. */
function trainedWeights(scope: Scope, parameters: Parameter[]): Gpt2Weights {
  const tensor = (name: string, shape: readonly number[]): Tensor => {
    const state = scope.state(name, shape, 'weights');
    parameters.push({ name, tensor: state, decays: shape.length === 2 });
    return state;
  };
  return {
    tensor,
    linear(name, outFeatures, inFeatures) {
      const weight = tensor(`${name}.weight`, [outFeatures, inFeatures]);
      const bias = tensor(`${name}.bias`, [outFeatures]);
      return (x) => linear(x, weight, bias);
    },
  };
}
