/** The results of a comparison: what `compare` writes as JSON and `plot` and `report` read. Types only. */
import type { Json } from '../../engine/stage.ts';

/** A two-sided interval at `Comparison.confidence`. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** A number with its interval; null where the data cannot give one. */
export interface Estimate {
  readonly value: number;
  readonly interval: Interval | null;
}

/** A quality measure of evaluate's `metrics`. */
export interface Metric {
  readonly name: string;
  /** How a sentence names it: `held-out loss`. */
  readonly label: string;
  /** `nats per token`, or empty for a pure number. */
  readonly unit: string;
  readonly better: 'lower' | 'higher';
}

/** What was set against what. */
export interface Comparison {
  /** The axis that is compared (`precision`), and its value that the others are set against (`bf16`). */
  readonly axis: string;
  readonly reference: string;
  /** The axis whose values repeat a configuration (`seed`). */
  readonly replicate: string;
  /** The axes that name a configuration (`targets`). */
  readonly rows: readonly string[];
  readonly metric: Metric;
  /** 1 - alpha of every interval: 0.95. */
  readonly confidence: number;
}

/** Planned peak memory of a training step, in bytes. */
export interface Memory {
  readonly weights: number;
  readonly adapters: number;
  readonly optimizer: number;
  readonly activations: number;
  readonly total: number;
}

/** The metric of one replicate under the reference and under the variant, and what it lost. */
export interface Pair {
  readonly replicate: string;
  readonly reference: number;
  readonly variant: number;
  /** In percent of the reference; positive is worse. */
  readonly drop: number;
}

/** One row of the trained grid under one value of the compared axis other than the reference. */
export interface Configuration {
  readonly label: string;
  readonly axes: Readonly<Record<string, Json>>;
  readonly variant: string;
  readonly pairs: readonly Pair[];
  /** Mean drop in percent over the replicates, with Student's t interval; its standard deviation, null for one replicate. */
  readonly drop: Estimate;
  readonly deviation: number | null;
  readonly memory: { readonly reference: Memory; readonly variant: Memory } | null;
  /** `best`: the smallest mean drop; `tied`: the replicates cannot tell it from the best. */
  readonly standing: 'best' | 'tied' | 'behind';
}

/** How far the reference's own metric moves when nothing but the replicate changes. */
export interface NoiseFloor {
  readonly metric: Metric;
  /** The axis that was changed: `seed`. */
  readonly replicate: string;
  /** Standard deviation over replicates within a configuration, pooled: in the metric's unit, and in percent of the mean. */
  readonly deviation: number;
  readonly deviationPercent: number;
  /** How many replicates the largest configuration has, and how many configurations have two or more. */
  readonly replicates: number;
  readonly configurations: number;
}

/** The held-out loss that quantizing one family costs, in one layer or in all. */
export interface SensitivityCell {
  readonly family: string;
  readonly layer: string;
  /** Nats per token. */
  readonly increase: Estimate;
  /** Percent of the unquantized model's loss. */
  readonly percent: Estimate;
  /** Weights quantized, and the increase in nats per million of them; null when the counts are not known. */
  readonly weights: number | null;
  readonly perMillion: Estimate | null;
}

/** The unquantized model on the held-out examples. */
export interface Baseline {
  /** Nats per token. */
  readonly loss: number;
  readonly examples: number;
  readonly tokens: number;
  /** The loss of a uniform guess over the vocabulary; null when it is not known. */
  readonly uniformLoss: number | null;
}

export interface Sensitivity {
  readonly families: readonly string[];
  /** Single layers, in order; the cells of `whole` come besides. */
  readonly layers: readonly string[];
  readonly whole: string;
  readonly cells: readonly SensitivityCell[];
  readonly reference: Baseline;
}

/** A loss at a step: mean, lowest and highest over the replicates. */
export interface CurvePoint {
  readonly step: number;
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** Losses during training of one configuration under one value of the compared axis. */
export interface Curve {
  readonly label: string;
  readonly value: string;
  readonly training: readonly CurvePoint[];
  readonly validation: readonly CurvePoint[];
}

export type Outcome = 'supported' | 'partly' | 'rejected';

/** A hypothesis judged by a rule that was written before the numbers. */
export interface Verdict {
  readonly hypothesis: string;
  /** What it was judged on: `increase in held-out loss`. */
  readonly measure: string;
  readonly outcome: Outcome;
  /** One sentence with the numbers that carry the outcome. */
  readonly answer: string;
  /** What chance alone does, in a sentence without its full stop: what the answer's numbers are to be read beside. */
  readonly floor: string;
  readonly rule: string;
  readonly evidence: readonly { readonly label: string; readonly value: string }[];
}

/** Null is a value that does not exist; tables show it as `n/a`. */
export type Cell = string | number | null;

/** A column; `decimals` is how many a person is shown (files for machines hold every digit). */
export type Column =
  | { readonly name: string; readonly label: string; readonly kind: 'text' }
  | { readonly name: string; readonly label: string; readonly kind: 'number'; readonly decimals: number };

export interface Table {
  /** File name without its ending. */
  readonly name: string;
  readonly title: string;
  /** What the columns mean and how they were computed, in words. */
  readonly note: string;
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
}

export interface Results {
  readonly format: 1;
  readonly comparison: Comparison;
  readonly verdicts: readonly Verdict[];
  readonly configurations: readonly Configuration[];
  readonly noise: NoiseFloor | null;
  readonly sensitivity: Sensitivity | null;
  readonly curves: readonly Curve[];
  readonly tables: readonly Table[];
  /** What these data can and cannot show, one sentence each. */
  readonly limits: readonly string[];
}
