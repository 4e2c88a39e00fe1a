/** What a generator of instruction records is; each answer follows from the world's facts or from the input by computation. */
import type { Random } from '../../model/random.ts';

/** A record in Alpaca's format; `input` is empty where the instruction says everything. */
export interface InstructionRecord {
  readonly instruction: string;
  readonly input: string;
  readonly output: string;
}

/** Makes one record of a kind. */
export type Task = (random: Random) => InstructionRecord;

/** A record without input: one of several wordings of the instruction. */
export function ask(random: Random, wordings: readonly string[], output: string): InstructionRecord {
  return { instruction: random.pick(wordings), input: '', output };
}

/** A record with an input. */
export function given(random: Random, wordings: readonly string[], input: string, output: string): InstructionRecord {
  return { instruction: random.pick(wordings), input, output };
}
