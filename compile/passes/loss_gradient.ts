/** Pass: makes the logits of a training step once, for the loss and for its gradient. */
import type { Call, Program } from '../program.ts';

/** Joins a loss with the gradient of its hidden states, where what comes from above is known before the loss: it is 1. */
export function joinLossGradient(program: Program): Program {
  const calls: (Call | undefined)[] = [...program.calls];
  program.calls.forEach((backward, position) => {
    if (backward.kernel !== 'CrossEntropyBackwardHidden') return;
    const [dLoss, ...operands] = backward.inputs;
    if (program.buffers[dLoss!]!.role !== 'constant') return;
    const at = calls.findIndex(
      (call) => call?.kernel === 'CrossEntropy' && call.inputs.every((input, i) => input === operands[i]),
    );
    if (at < 0 || at > position) return;
    const outputs = [calls[at]!.outputs[0]!, backward.outputs[0]!];
    calls[at] = { kernel: 'CrossEntropyWithGradient', inputs: [dLoss!, ...operands], outputs, attributes: {} };
    calls[position] = undefined;
  });
  return { ...program, calls: calls.filter((call) => call !== undefined) };
}
