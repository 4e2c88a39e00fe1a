/** Pass: what is added to a kernel's result is added by the kernel itself, where it can, instead of in a pass of its own. */
import { rootOf, sameShape, substitute, usesOf } from '../buffers.ts';
import type { Call, Program } from '../program.ts';

/** Position of the operand `added` of the kernels that have one. It comes last: the operands before it must be there. */
const addedAt: Readonly<Record<string, number>> = {
  Linear: 3,
  LinearBackwardInput: 2,
  Nf4MatMul: 5,
  Nf4MatMulBackwardInput: 4,
  LayerNormBackwardInput: 3,
};

/** Add(K(..), r) becomes K(.., r): the residual of a layer, and the gradients that meet where a tensor was used twice. */
export function fuseAdditions(program: Program): Program {
  const uses = usesOf(program);
  const calls: (Call | undefined)[] = [...program.calls];
  const replaced = new Map<number, number>();

  /** The call whose result reaches `buffer` and nothing else does, if it takes an addend; a LoRA update may lie between. */
  const adder = (buffer: number, reader: number): number | undefined => {
    const { reads, writes } = uses[buffer]!;
    if (program.buffers[buffer]!.role !== 'temporary' || writes.length !== 1 || reads.length !== 1) return undefined;
    if (reads[0] !== reader) return undefined;
    const position = writes[0]!;
    const call = calls[position];
    if (call === undefined) return undefined;
    if (call.kernel === 'LoraUpdate') return adder(call.inputs[0]!, position);
    return addedAt[call.kernel] === call.inputs.length ? position : undefined;
  };
  /** Whether a buffer has its content before a call, and nothing writes it later. */
  const ready = (buffer: number, before: number) => uses[buffer]!.writes.every((write) => write < before);

  program.calls.forEach((call, position) => {
    const [a, b] = call.inputs;
    const output = call.outputs[0]!;
    if (call.kernel !== 'Add' || rootOf(program, a!) === rootOf(program, b!)) return;
    if (uses[output]!.writes.length !== 1) return;
    for (const [sum, addend] of [
      [a!, b!],
      [b!, a!],
    ] as const) {
      const shapes = [sum, addend].map((buffer) => program.buffers[buffer]!.shape);
      if (!shapes.every((shape) => sameShape(shape, program.buffers[output]!.shape))) continue;
      const at = adder(sum, position);
      if (at === undefined || !ready(addend, at)) continue;
      calls[at] = { ...calls[at]!, inputs: [...calls[at]!.inputs, addend] };
      calls[position] = undefined;
      replaced.set(output, sum);
      return;
    }
  });
  return substitute({ ...program, calls: calls.filter((call) => call !== undefined) }, replaced);
}
