/** What stages ask of splits of examples: how long their rows are, and their first few. */
import { StageError } from '../../engine/stage.ts';
import { type ExampleSplit, exampleSplit } from '../../model/dataset.ts';

/**
 * The shortest row that every example of the splits fits in: the last token is only ever a target.
 * @throws StageError when there is no example, or one is longer than the model's context.
 */
export function rowLength(splits: readonly ExampleSplit[], contextLength: number): number {
  let longest = 0;
  for (const split of splits) {
    if (split.count === 0) throw new StageError('a split of the data set holds no examples: tokenize more records');
    for (let i = 0; i < split.count; i++) longest = Math.max(longest, split.example(i).tokens.length - 1);
  }
  if (longest <= contextLength) return longest;
  throw new StageError(
    `the longest example has ${longest + 1} tokens, and the model's context ${contextLength}: tokenize with max_length ${contextLength}`,
  );
}

/** The first `count` examples, or all where there are fewer. */
export function firstExamples(split: ExampleSplit, count: number): ExampleSplit {
  return exampleSplit(Array.from({ length: Math.min(count, split.count) }, (_, i) => split.example(i)));
}
