/** Pass: quantizes a matrix in one reading, where its scales and its codes would take two. */
import type { Call, Program } from '../program.ts';

/** Joins each Nf4Codes with the Nf4Absmax of the same matrix, where its thresholds are there before the run. */
export function joinQuantization(program: Program): Program {
  const calls: (Call | undefined)[] = [...program.calls];
  program.calls.forEach((codes, position) => {
    if (codes.kernel !== 'Nf4Codes') return;
    const [w, absmax, thresholds] = codes.inputs;
    if (program.buffers[thresholds!]!.role === 'temporary') return;
    const at = calls.findIndex((call) => call?.kernel === 'Nf4Absmax' && call.outputs[0] === absmax);
    if (at < 0 || calls[at]!.inputs[0] !== w || calls[at]!.attributes.block !== codes.attributes.block) return;
    const outputs = [absmax!, codes.outputs[0]!];
    calls[at] = { kernel: 'Nf4Quantize', inputs: [w!, thresholds!], outputs, attributes: codes.attributes };
    calls[position] = undefined;
  });
  return { ...program, calls: calls.filter((call) => call !== undefined) };
}
