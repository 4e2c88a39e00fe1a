/** Measures of a model reading a text, and of a reference reading the same: loss, top-1 agreement, KL, embedding cosine. */
import type { Gpt2Config } from '../../model/config.ts';
import { centredCosines } from './cosine.ts';

/** What one model computed of a batch: logits [N, V] and final hidden states [N, C]. */
interface Reading {
  readonly logits: Float32Array;
  readonly hidden: Float32Array;
}

interface ReadBatch {
  readonly model: Reading;
  /** Null where the model is compared with none. */
  readonly reference: Reading | null;
  /** [N]: the token that follows each row; negative where it is not measured. */
  readonly targets: Int32Array;
  /** Rows of one example. */
  readonly length: number;
}

/** The measures of a whole split. Losses and KL in nats per token, averaged over tokens. Null: there was no reference. */
export interface TeacherForcedMetrics {
  readonly loss: number;
  readonly perplexity: number;
  /** The loss of a uniform guess, ln V: a model above it knows less than nothing of the text. */
  readonly uniformLoss: number;
  readonly tokens: number;
  readonly examples: number;
  /** The share of tokens at which both models' most likely token is the same. */
  readonly top1Agreement: number | null;
  /** KL(reference || model), which is zero only where the models agree. */
  readonly kl: number | null;
  /** Mean over examples of the cosine of mean-pooled response states, the reference's mean over examples subtracted from both. */
  readonly embeddingCosine: number | null;
  /** Agreement by how sure the reference is: a token that it hardly decides is easily turned. */
  readonly agreementByMargin: readonly MarginBin[] | null;
  readonly lossPerExample: number[];
  readonly tokensPerExample: number[];
  /** Shares, nats per token and cosines by example, so that comparisons can be paired by it. */
  readonly agreementPerExample: readonly number[] | null;
  readonly klPerExample: readonly number[] | null;
  readonly cosinePerExample: readonly number[] | null;
}

/** Tokens at which the reference's log-probability of its most likely token exceeds that of the second by `from` .. `to` nats. */
export interface MarginBin {
  readonly from: number;
  /** Null: there is no upper end. */
  readonly to: number | null;
  readonly tokens: number;
  readonly agreed: number;
}

/** Where bins of margins begin, in nats. */
const marginStarts = [0, 0.1, 0.3, 1, 3] as const;

/** Adds up the measures batch by batch. Sums are float64. */
export class TeacherForced {
  readonly #width: number;
  readonly #vocabSize: number;
  readonly #lossPerExample: number[] = [];
  readonly #tokensPerExample: number[] = [];
  readonly #pooled: { model: Float64Array; reference: Float64Array }[] = [];
  readonly #agreementPerExample: number[] = [];
  readonly #klPerExample: number[] = [];
  /** Tokens that a reference read too. */
  #compared = 0;
  #agreed = 0;
  #kl = 0;
  readonly #byMargin = marginStarts.map(() => ({ tokens: 0, agreed: 0 }));

  constructor({ width, vocabSize }: Gpt2Config) {
    this.#width = width;
    this.#vocabSize = vocabSize;
  }

  /** Adds a batch of examples; one without targets (a batch's padding) is left out. */
  add({ model, reference, targets, length }: ReadBatch): void {
    for (let start = 0; start < targets.length; start += length) {
      const rows = Array.from({ length }, (_, i) => start + i).filter((row) => targets[row]! >= 0);
      if (rows.length === 0) continue;
      const before = { agreed: this.#agreed, kl: this.#kl };
      let loss = 0;
      for (const row of rows) {
        const mine = this.#normalizer(model.logits, row);
        loss += mine.logSum - model.logits[row * this.#vocabSize + targets[row]!]!;
        if (reference !== null) this.#compare(model.logits, mine, reference.logits, row);
      }
      this.#lossPerExample.push(loss / rows.length);
      this.#tokensPerExample.push(rows.length);
      if (reference === null) continue;
      this.#compared += rows.length;
      this.#agreementPerExample.push((this.#agreed - before.agreed) / rows.length);
      this.#klPerExample.push((this.#kl - before.kl) / rows.length);
      this.#pooled.push({ model: this.#pool(model.hidden, rows), reference: this.#pool(reference.hidden, rows) });
    }
  }

  metrics(): TeacherForcedMetrics {
    const tokens = this.#tokensPerExample.reduce((a, b) => a + b, 0);
    const loss = this.#lossPerExample.reduce((sum, mean, i) => sum + mean * this.#tokensPerExample[i]!, 0) / tokens;
    const compared = this.#compared > 0;
    const cosines = centredCosines(this.#pooled);
    return {
      loss,
      perplexity: Math.exp(loss),
      uniformLoss: Math.log(this.#vocabSize),
      tokens,
      examples: this.#lossPerExample.length,
      top1Agreement: compared ? this.#agreed / this.#compared : null,
      kl: compared ? this.#kl / this.#compared : null,
      embeddingCosine: cosines === null ? null : cosines.reduce((sum, x) => sum + x, 0) / cosines.length,
      agreementByMargin: compared ? this.#marginBins() : null,
      lossPerExample: this.#lossPerExample,
      tokensPerExample: this.#tokensPerExample,
      agreementPerExample: compared ? this.#agreementPerExample : null,
      klPerExample: compared ? this.#klPerExample : null,
      cosinePerExample: cosines,
    };
  }

  #marginBins(): readonly MarginBin[] {
    return this.#byMargin.map((counts, i) => ({ from: marginStarts[i]!, to: marginStarts[i + 1] ?? null, ...counts }));
  }

  #normalizer(logits: Float32Array, row: number): Normalizer {
    return normalizer(logits, row * this.#vocabSize, (row + 1) * this.#vocabSize);
  }

  /** Adds one token's agreement and KL. */
  #compare(logits: Float32Array, mine: Normalizer, reference: Float32Array, row: number): void {
    const [start, end] = [row * this.#vocabSize, (row + 1) * this.#vocabSize];
    const theirs = this.#normalizer(reference, row);
    const agrees = mine.top === theirs.top;
    if (agrees) this.#agreed++;
    // A margin of logits that are no numbers falls in no bin; their KL is no number either, and the model is refused.
    const bin = this.#byMargin[marginStarts.findLastIndex((from) => theirs.margin >= from)];
    if (bin !== undefined) {
      bin.tokens++;
      if (agrees) bin.agreed++;
    }
    for (let i = start; i < end; i++) {
      const logReference = reference[i]! - theirs.logSum;
      this.#kl += Math.exp(logReference) * (logReference - (logits[i]! - mine.logSum));
    }
  }

  #pool(hidden: Float32Array, rows: readonly number[]): Float64Array {
    const pooled = new Float64Array(this.#width);
    for (const row of rows) {
      for (let c = 0; c < pooled.length; c++) pooled[c]! += hidden[row * pooled.length + c]! / rows.length;
    }
    return pooled;
  }
}

interface Normalizer {
  /** The logarithm of the sum of exponentials. */
  readonly logSum: number;
  /** The place of the largest logit (the first of equals), and how far it is above the second. */
  readonly top: number;
  readonly margin: number;
}

/** Of logits start .. end. */
function normalizer(logits: Float32Array, start: number, end: number): Normalizer {
  let top = start;
  let second = Number.NEGATIVE_INFINITY;
  for (let i = start + 1; i < end; i++) {
    if (logits[i]! > logits[top]!) {
      second = logits[top]!;
      top = i;
    } else if (logits[i]! > second) second = logits[i]!;
  }
  const largest = logits[top]!;
  let sum = 0;
  for (let i = start; i < end; i++) sum += Math.exp(logits[i]! - largest);
  return { logSum: largest + Math.log(sum), top: top - start, margin: largest - second };
}
