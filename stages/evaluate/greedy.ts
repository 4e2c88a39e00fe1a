/** Greedy generation from prompts: whether a model writes the records' responses, and how far two models write the same. */
import { setImmediate } from 'node:timers/promises';
import { StageError } from '../../engine/stage.ts';
import type { ExampleSplit } from '../../model/dataset.ts';
import { decodeStep } from '../../model/steps.ts';
import { type Host, loadStep } from '../shared/executables.ts';
import type { FrozenModel } from '../shared/model_folder.ts';

interface Limits {
  /** Tokens generated at most. */
  readonly tokens: number;
  /** The token that ends a text. */
  readonly endOfText: number;
}

export interface GreedyMetrics {
  /** Over the tokens that either model wrote, the share at which both wrote the same; null without a reference. */
  readonly greedyMatch: number | null;
  /** Mean number of tokens before the first difference; the whole text's length where there is none. */
  readonly firstDivergence: number | null;
  /** The share of examples in which the model wrote just the record's response. */
  readonly exactMatch: number;
  readonly greedyExamples: number;
}

/** Generates from each example's prompt, with the reference too if there is one. @throws StageError when prompts leave no room in the context. */
export async function compareGreedy(
  { model, reference }: { readonly model: FrozenModel; readonly reference: FrozenModel | null },
  examples: ExampleSplit,
  limits: Limits,
  host: Host & { readonly signal: AbortSignal },
): Promise<GreedyMetrics> {
  const prompts: Int32Array[] = [];
  const responses: Int32Array[] = [];
  for (let i = 0; i < examples.count; i++) {
    const { tokens, promptLength } = examples.example(i);
    prompts.push(tokens.subarray(0, promptLength));
    responses.push(tokens.subarray(promptLength));
  }
  const mine = await generate(model, prompts, limits, host);
  const theirs =
    reference === null ? null : reference === model ? mine : await generate(reference, prompts, limits, host);
  const exact = mine.filter((text, i) => firstDifference(text, responses[i]!) === null).length;
  return {
    ...(theirs === null ? { greedyMatch: null, firstDivergence: null } : compareTexts(mine, theirs)),
    exactMatch: exact / mine.length,
    greedyExamples: mine.length,
  };
}

function compareTexts(mine: readonly number[][], theirs: readonly number[][]) {
  let [same, written, divergence] = [0, 0, 0];
  mine.forEach((text, i) => {
    const other = theirs[i]!;
    const length = Math.max(text.length, other.length);
    for (let t = 0; t < length; t++) if (text[t] === other[t]) same++;
    written += length;
    divergence += firstDifference(text, other) ?? length;
  });
  return { greedyMatch: same / written, firstDivergence: divergence / mine.length };
}

/** Where two texts first differ, the end of one included; null where they are the same. */
function firstDifference(a: ArrayLike<number>, b: ArrayLike<number>): number | null {
  for (let t = 0; t < Math.max(a.length, b.length); t++) if (a[t] !== b[t]) return t;
  return null;
}

/**
 * Continues each prompt by its most likely token until the text ends or `tokens` are written.
 * @returns the tokens written, the one that ends a text included.
 */
async function generate(
  model: FrozenModel,
  prompts: readonly Int32Array[],
  { tokens: most, endOfText }: Limits,
  host: Host & { readonly signal: AbortSignal },
): Promise<number[][]> {
  // The last token that is written is never read.
  const capacity = Math.max(...prompts.map(({ length }) => length)) + most - 1;
  if (capacity > model.config.contextLength) {
    throw new StageError(
      `a prompt with ${most} tokens after it takes ${capacity} positions, and the model's context holds ${model.config.contextLength}: lower greedy_tokens or max_length`,
    );
  }
  const batch = prompts.length;
  const program = await loadStep('decode step', decodeStep({ ...model, batch, capacity }), host);
  model.writeTo(program);
  const texts: number[][] = prompts.map(() => []);
  const ended = (row: number) => texts[row]!.length === most || texts[row]!.at(-1) === endOfText;
  const next = Int32Array.from(prompts, (prompt) => prompt[0]!);
  for (let position = 0; position < capacity && !texts.every((_, row) => ended(row)); position++) {
    program.write('tokens', next);
    program.write('positions', new Int32Array(batch).fill(position));
    program.run();
    const likeliest = program.read('likeliest') as Int32Array;
    for (let row = 0; row < batch; row++) {
      const prompt = prompts[row]!;
      if (position + 1 < prompt.length) {
        next[row] = prompt[position + 1]!;
      } else if (!ended(row)) {
        next[row] = likeliest[row]!;
        texts[row]!.push(next[row]!);
      }
    }
    await setImmediate();
    host.signal.throwIfAborted();
  }
  program.dispose();
  return texts;
}
