/** Pass: turns Reshape, Identity and Cast, which move no data, from calls into views of their operand's memory. */
import { compact, mergeEqualViews, rootOf, type Uses, usesOf } from '../buffers.ts';
import type { Buffer, Call, Program } from '../program.ts';

const ALIASES: ReadonlySet<string> = new Set(['Reshape', 'Identity', 'Cast']);

/**
 * The result of an alias becomes a view of what the operand lies in. A copy into a state is an assignment and stays; so
 * does a copy that is still read after a call has overwritten its source.
 */
export function aliasViews(program: Program): Program {
  const uses = usesOf(program);
  const buffers: Buffer[] = [...program.buffers];
  const calls: Call[] = [];
  program.calls.forEach((call, position) => {
    const from = call.inputs[0]!;
    const to = call.outputs[0]!;
    if (!ALIASES.has(call.kernel) || !mayShare(program, uses, rootOf({ buffers }, from), to, position)) {
      calls.push(call);
      return;
    }
    const root = rootOf({ buffers }, from);
    const { role, storage, group } = buffers[root]!;
    buffers[to] = { ...buffers[to]!, role, storage, group, view: root };
  });
  return mergeEqualViews(compact({ ...program, buffers, calls }));
}

/** A view is sound while its source keeps the content that it had at the alias, and the result is written there alone. */
function mayShare(program: Program, uses: readonly Uses[], source: number, to: number, position: number): boolean {
  const result = program.buffers[to]!;
  if (result.role !== 'temporary' || result.view !== undefined || uses[to]!.writes.length !== 1) return false;
  if (program.buffers[source]!.role !== 'state') return true;
  const lastRead = Math.max(position, ...uses[to]!.reads);
  return !uses[source]!.writes.some((write) => write > position && write <= lastRead);
}
