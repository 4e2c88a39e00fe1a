/** Pass: runs cheap kernels again before each use, instead of keeping what they give from the first use to the last. */
import { compact, rootOf, usesOf } from '../buffers.ts';
import { kernelTraits } from '../kernel_table.ts';
import type { Buffer, Call, Program } from '../program.ts';

/**
 * Applies to kernels that say so and whose operands nothing changes during a run (weights, inputs, constants), so that no
 * operand has to be kept longer either. Each call that reads the result gets its own, made just before it.
 */
export function recomputeCheap(program: Program): Program {
  const uses = usesOf(program);
  const viewed = new Set(program.buffers.flatMap(({ view }) => view ?? []));
  const cheap = new Map<number, Call>();
  for (const call of program.calls) {
    const output = call.outputs[0]!;
    const fixed = call.inputs.every((input) => ['weight', 'input', 'constant'].includes(program.buffers[input]!.role));
    const read = uses[output]!.reads;
    const kept = viewed.has(output) || read.includes(program.calls.length) || uses[output]!.writes.length !== 1;
    if (kernelTraits(call.kernel).recompute && fixed && !kept) cheap.set(output, call);
  }
  if (cheap.size === 0) return program;

  const buffers: Buffer[] = [...program.buffers];
  const given = new Set<number>();
  const calls = program.calls.flatMap((call, position) => {
    if (cheap.get(call.outputs[0]!) === call) return [];
    const before: Call[] = [];
    const own = new Map<number, number>();
    for (const input of call.inputs) {
      const maker = cheap.get(rootOf(program, input));
      if (maker === undefined || own.has(input)) continue;
      const copy = given.has(input) ? buffers.length : input;
      if (copy !== input)
        buffers.push({ ...program.buffers[input]!, name: `${program.buffers[input]!.name}@${position}` });
      given.add(input);
      own.set(input, copy);
      before.push({ ...maker, outputs: [copy] });
    }
    return [...before, { ...call, inputs: call.inputs.map((input) => own.get(input) ?? input) }];
  });
  return compact({ ...program, buffers, calls });
}
