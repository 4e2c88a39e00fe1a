/** What stages ask of a split of examples: how long its rows are, and its first few. */
import { type ExampleSplit, exampleSplit } from '../../model/dataset.ts';

/** The shortest row that every example of the split fits in: the last token is only ever a target. */
export function longestRow(split: ExampleSplit): number {
  let longest = 0;
  for (let i = 0; i < split.count; i++) longest = Math.max(longest, split.example(i).tokens.length - 1);
  return longest;
}

/** The first `count` examples, or all where there are fewer. */
export function firstExamples(split: ExampleSplit, count: number): ExampleSplit {
  return exampleSplit(Array.from({ length: Math.min(count, split.count) }, (_, i) => split.example(i)));
}
