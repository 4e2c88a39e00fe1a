/** Which optimizer states lie on the host: those that the step reads and writes once, so that they cost their way there and back. */
import { alignedBytes, byteLength } from './buffers.ts';
import type { Program } from './program.ts';

/**
 * Chooses what to page, so that a program gives up `bytes` of its arena: the largest states that are no larger than what is
 * still to be given up, then the smallest that is enough for the rest. So little is paged in vain, in few pieces.
 *
 * Paged optimizers are of QLoRA (Dettmers et al. 2023, section 3), where the driver moves pages as memory runs out. A plan
 * knows beforehand what will be lacking.
 * @returns buffers of the group `optimizer`; all of them where they are not enough, none where `bytes` is 0 or less.
 */
export function statesToPage(program: Program, bytes: number): ReadonlySet<number> {
  const states = program.buffers
    .flatMap(({ role, group, view }, index) =>
      role === 'state' && group === 'optimizer' && view === undefined ? [index] : [],
    )
    .map((index) => ({ index, bytes: alignedBytes(byteLength(program.buffers[index]!)) }))
    .sort((a, b) => b.bytes - a.bytes || a.index - b.index);
  const chosen = new Set<number>();
  let left = bytes;
  for (const { index, bytes } of states) {
    if (left <= 0 || bytes > left) continue;
    chosen.add(index);
    left -= bytes;
  }
  // Every state that was passed over is larger than what is left.
  const last = states.findLast(({ index }) => !chosen.has(index));
  if (left > 0 && last !== undefined) chosen.add(last.index);
  return chosen;
}
