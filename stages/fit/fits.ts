/** What `fit` writes and `advise` reads. Types only; sizes in bytes. */
import type { Rematerialization } from '../../compile/passes/rematerialize.ts';
import type { Family } from '../../model/gpt2.ts';
import type { Footprint, Precision } from '../shared/planned_training.ts';

export interface Candidate {
  readonly precision: Precision;
  readonly rank: number;
  /** What training keeps for the gradient. */
  readonly rematerialize: Rematerialization;
  /** Sequences of a step, the most that fit; 0 when not even one does. */
  readonly batch: number;
  /** What that batch takes, or one sequence where none fits. */
  readonly takes: Footprint;
  /** What one sequence more would take. */
  readonly next: number;
}

export interface Fits {
  /** A name, or a folder. */
  readonly model: string;
  readonly shape: { readonly layers: number; readonly width: number; readonly vocabSize: number };
  readonly memory: number;
  readonly targets: readonly Family[];
  /** Tokens of a sequence. */
  readonly length: number;
  readonly candidates: readonly Candidate[];
}
