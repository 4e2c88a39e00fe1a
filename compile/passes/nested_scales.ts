/** Pass: a doubly quantized matrix's scales are computed where its elements are, and exist nowhere else. */
import { compact, usesOf } from '../buffers.ts';
import type { Call, Program } from '../program.ts';

/** Position of the operand absmax of the kernels that take it in codes. */
const ABSMAX = 2;

/**
 * The operand becomes the codes that it was computed from; what they stand for comes after the other operands, and the
 * attribute nestedBlock says so.
 */
export function foldNestedScales(program: Program): Program {
  const uses = usesOf(program);
  const maker = ({ kernel, inputs, attributes }: Call): Call | undefined => {
    if (!kernel.startsWith('Nf4MatMul') || attributes.nestedBlock !== undefined) return undefined;
    const { writes } = uses[inputs[ABSMAX]!]!;
    const call = writes.length === 1 ? program.calls[writes[0]!] : undefined;
    return call?.kernel === 'DequantizeAbsmax' ? call : undefined;
  };
  const calls = program.calls.map((call): Call => {
    const scales = maker(call);
    if (scales === undefined) return call;
    const [codes, ...stand] = scales.inputs;
    return {
      ...call,
      inputs: [...call.inputs.with(ABSMAX, codes!), ...stand],
      attributes: { ...call.attributes, nestedBlock: scales.attributes.nestedBlock! },
    };
  });
  const read = new Set([...calls.flatMap(({ inputs }) => inputs), ...Object.values(program.outputs)]);
  const needed = calls.filter(({ kernel, outputs }) => kernel !== 'DequantizeAbsmax' || read.has(outputs[0]!));
  return compact({ ...program, calls: needed });
}
