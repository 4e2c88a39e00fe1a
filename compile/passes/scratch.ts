/** Pass: gives each kernel that declares scratch space a temporary to use as such, so that the plan counts it. */
import { kernelTraits } from '../kernel_table.ts';
import type { Buffer, Program } from '../program.ts';

/** One buffer a call: they overlap in the arena, since each lives during its call alone. */
export function attachScratch(program: Program): Program {
  const added: Buffer[] = [];
  const calls = program.calls.map((call, position) => {
    if (call.scratch !== undefined) return call;
    const operands = call.inputs.map((input) => program.buffers[input]!.shape);
    const shape = kernelTraits(call.kernel).scratch(operands, call.attributes);
    if (shape === undefined) return call;
    added.push({
      name: `${call.kernel}.scratch:${position}`,
      shape,
      storage: 'float32',
      role: 'temporary',
      group: 'activations',
    });
    return { ...call, scratch: program.buffers.length + added.length - 1 };
  });
  return added.length === 0 ? program : { ...program, buffers: [...program.buffers, ...added], calls };
}
