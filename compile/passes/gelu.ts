/** Pass: a linear map computes the gelu that follows it, and in the backward pass the one that came before it. */
import { usesOf } from '../buffers.ts';
import type { Call, Program } from '../program.ts';

/** The kernel that a linear map becomes, if it has this many operands: a bias, and nothing added. */
const withGelu: Readonly<Record<string, { operands: number; kernel: string }>> = {
  Linear: { operands: 3, kernel: 'LinearGelu' },
  Nf4MatMul: { operands: 5, kernel: 'Nf4MatMulGelu' },
};
const withGeluBackward: Readonly<Record<string, { operands: number; kernel: string }>> = {
  LinearBackwardInput: { operands: 2, kernel: 'LinearGeluBackwardInput' },
  Nf4MatMulBackwardInput: { operands: 4, kernel: 'Nf4MatMulGeluBackwardInput' },
};

/** Only where the gradient reads what goes into the gelu as well: otherwise writing it would be for nothing. */
export function fuseGelu(program: Program): Program {
  const uses = usesOf(program);
  const calls: (Call | undefined)[] = [...program.calls];
  /** The call that makes a temporary, if it becomes one of `kernels`. */
  const maker = (buffer: number, kernels: typeof withGelu) => {
    const { writes } = uses[buffer]!;
    if (program.buffers[buffer]!.role !== 'temporary' || writes.length !== 1) return undefined;
    const call = calls[writes[0]!];
    const becomes = call !== undefined && Object.hasOwn(kernels, call.kernel) ? kernels[call.kernel]! : undefined;
    if (becomes?.operands !== call?.inputs.length || call!.outputs[0] !== buffer) return undefined;
    return { at: writes[0]!, call: call!, kernel: becomes!.kernel };
  };
  program.calls.forEach((call, position) => {
    if (call.kernel === 'Gelu') {
      const [pre] = call.inputs as [number];
      const made = maker(pre, withGelu);
      if (made === undefined || uses[pre]!.reads.length < 2 || call.outputs[0] === pre) return;
      calls[made.at] = { ...made.call, kernel: made.kernel, outputs: [call.outputs[0]!, pre] };
      calls[position] = undefined;
    }
    if (call.kernel === 'GeluBackward') {
      const [dy, pre] = call.inputs as [number, number];
      const made = maker(dy, withGeluBackward);
      if (made === undefined || uses[dy]!.reads.length !== 1) return;
      calls[made.at] = {
        ...made.call,
        kernel: made.kernel,
        inputs: [...made.call.inputs, pre],
        outputs: call.outputs,
      };
      calls[position] = undefined;
    }
  });
  return { ...program, calls: calls.filter((call) => call !== undefined) };
}
