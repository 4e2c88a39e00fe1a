/** Pass: lets states take their new value where the call that makes it writes, instead of by a copy. */
import { rootOf, sameShape, substitute, usesOf } from '../buffers.ts';
import { kernelTraits } from '../kernel_table.ts';
import type { Program } from '../program.ts';

/**
 * The trace writes `update(state, value)` as a copy at the end of the program. Where the call that makes the value may
 * write into the state at once, because nothing reads the old content any more, it does, and the copy goes.
 */
export function updateStatesInPlace(program: Program): Program {
  const uses = usesOf(program);
  const moved = new Map<number, number>();
  const removed = new Set<number>();
  program.calls.forEach((copy, at) => {
    const value = copy.inputs[0]!;
    const state = copy.outputs[0]!;
    if (copy.kernel !== 'Identity' || program.buffers[state]!.role !== 'state' || moved.has(value)) return;
    const { role, view, shape } = program.buffers[value]!;
    const made = uses[value]!.writes[0];
    if (role !== 'temporary' || view !== undefined || uses[value]!.writes.length !== 1 || made === undefined) return;
    if (!sameShape(shape, program.buffers[state]!.shape) || uses[state]!.writes.length !== 1) return;
    if (uses[state]!.reads.some((read) => read > made)) return;
    if (readsOld(program, made, state) && !mayOverwrite(program, made, state)) return;
    moved.set(value, state);
    removed.add(at);
  });
  return substitute({ ...program, calls: program.calls.filter((_, index) => !removed.has(index)) }, moved);
}

function readsOld(program: Program, position: number, state: number): boolean {
  return program.calls[position]!.inputs.some((input) => rootOf(program, input) === state);
}

/** Whether a call may overwrite the state: it meets it as its in-place operand, and nowhere else. */
function mayOverwrite(program: Program, position: number, state: number): boolean {
  const call = program.calls[position]!;
  const inPlace = kernelTraits(call.kernel).inPlace(0);
  if (inPlace === undefined || call.inputs[inPlace] !== state) return false;
  return !call.inputs.some((input, operand) => operand !== inPlace && rootOf(program, input) === state);
}
