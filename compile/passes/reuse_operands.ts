/** Pass: lets a kernel that works in place write over an operand that is not read again. */
import { replacements, sameShape, substitute, usesOf } from '../buffers.ts';
import { kernelTraits } from '../kernel_table.ts';
import type { Program } from '../program.ts';

/** Kernels whose operands may be exchanged without a bit of difference. */
const COMMUTATIVE: ReadonlySet<string> = new Set(['Add', 'Multiply']);

/** A temporary of the output's shape and storage that dies in an in-place call gives its memory to the output. */
export function reuseDyingOperands(program: Program): Program {
  const uses = usesOf(program);
  const replaced = new Map<number, number>();
  const now = replacements(program, replaced);
  /** Root -> the last position at which its memory is read, counting the buffers that it was given to. */
  const lastRead = new Map<number, number>();
  const readUntil = (root: number) => lastRead.get(root) ?? Math.max(-1, ...uses[root]!.reads);

  const calls = program.calls.map((call, position) => {
    const output = call.outputs[0]!;
    const { role, view, shape, storage } = program.buffers[output]!;
    const inPlace = kernelTraits(call.kernel).inPlace(0);
    if (inPlace === undefined || role !== 'temporary' || view !== undefined) return call;
    if (uses[output]!.writes.length !== 1) return call;
    const inputs = call.inputs.map(now.buffer);
    const dies = (operand: number) => {
      const buffer = program.buffers[inputs[operand]!]!;
      const root = now.root(inputs[operand]!);
      const shared = inputs.some((input, index) => index !== operand && now.root(input) === root);
      const fits = buffer.role === 'temporary' && buffer.storage === storage && sameShape(buffer.shape, shape);
      return fits && !shared && readUntil(root) === position;
    };
    const exchange = !dies(inPlace) && COMMUTATIVE.has(call.kernel) && dies(1);
    if (!exchange && !dies(inPlace)) return call;
    const operand = exchange ? 1 : inPlace;
    replaced.set(output, inputs[operand]!);
    lastRead.set(now.root(inputs[operand]!), readUntil(output));
    return exchange ? { ...call, inputs: call.inputs.toReversed() } : call;
  });
  return substitute({ ...program, calls }, replaced);
}
