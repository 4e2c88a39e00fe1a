/** Measures of a model reading a text, and of a reference reading the same: loss, top-1 agreement, KL, embedding cosine. */
import type { Gpt2Config } from '../../model/config.ts';
import { centredCosines } from './cosine.ts';

/** What is known of one token. */
export interface TokenMeasures {
  /** The model's log-probability of the token, in nats. */
  readonly logProb: number;
  /** Null where the model is compared with none. */
  readonly compared: {
    /** Whether the most likely token of both models is the same. */
    readonly agrees: boolean;
    /** By how many nats the reference's most likely token is above its second. */
    readonly margin: number;
    /** KL(reference || model) in nats. */
    readonly kl: number;
  } | null;
}

/** The last hidden states [N, C] of the model and of its reference at the same tokens. */
export interface HiddenPair {
  readonly model: Float32Array;
  readonly reference: Float32Array;
}

/** What was read of a batch. */
export interface Reading {
  /** Of each row that has a target, in order. */
  readonly measures: readonly TokenMeasures[];
  /** Null where the model is compared with none. */
  readonly hidden: HiddenPair | null;
}

interface ReadBatch extends Reading {
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
  add({ targets, length, measures, hidden }: ReadBatch): void {
    let measured = 0;
    for (let start = 0; start < targets.length; start += length) {
      const rows = Array.from({ length }, (_, i) => start + i).filter((row) => targets[row]! >= 0);
      if (rows.length === 0) continue;
      const tokens = measures.slice(measured, measured + rows.length);
      measured += rows.length;
      const before = { agreed: this.#agreed, kl: this.#kl };
      let loss = 0;
      for (const { logProb, compared } of tokens) {
        loss -= logProb;
        if (compared !== null) this.#compare(compared);
      }
      this.#lossPerExample.push(loss / rows.length);
      this.#tokensPerExample.push(rows.length);
      if (hidden === null) continue;
      this.#compared += rows.length;
      this.#agreementPerExample.push((this.#agreed - before.agreed) / rows.length);
      this.#klPerExample.push((this.#kl - before.kl) / rows.length);
      this.#pooled.push({ model: this.#pool(hidden.model, rows), reference: this.#pool(hidden.reference, rows) });
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

  #compare({ agrees, margin, kl }: NonNullable<TokenMeasures['compared']>): void {
    if (agrees) this.#agreed++;
    this.#kl += kl;
    // A margin of logits that are no numbers falls in no bin; their KL is no number either, and the model is refused.
    const bin = this.#byMargin[marginStarts.findLastIndex((from) => margin >= from)];
    if (bin === undefined) return;
    bin.tokens++;
    if (agrees) bin.agreed++;
  }

  #pool(hidden: Float32Array, rows: readonly number[]): Float64Array {
    const pooled = new Float64Array(this.#width);
    for (const row of rows) {
      for (let c = 0; c < pooled.length; c++) pooled[c]! += hidden[row * pooled.length + c]! / rows.length;
    }
    return pooled;
  }
}
