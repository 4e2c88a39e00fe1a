/** Pass: drops calls whose result nothing needs, such as gradients of frozen weights that the tape computed. */
import { compact, rootOf } from '../buffers.ts';
import type { Call, Program } from '../program.ts';

/** A call is needed if it writes a state, or what an output or a needed later call reads. */
export function dropDeadCalls(program: Program): Program {
  const needed = new Set<number>(Object.values(program.outputs).map((buffer) => rootOf(program, buffer)));
  const kept: Call[] = [];
  for (const call of program.calls.toReversed()) {
    const written = call.outputs.map((buffer) => rootOf(program, buffer));
    if (!written.some((buffer) => needed.has(buffer) || program.buffers[buffer]!.role === 'state')) continue;
    for (const input of call.inputs) needed.add(rootOf(program, input));
    kept.push(call);
  }
  return compact({ ...program, calls: kept.reverse() });
}
