/** Pass: attention keeps what its gradient would otherwise compute again: its result and each softmax's denominator. */
import { usesOf } from '../buffers.ts';
import type { Buffer, Call, Program } from '../program.ts';

/** Joins each CausalAttentionBackward with the CausalAttention that last read the same queries, keys and values. */
export function keepAttention(program: Program): Program {
  const uses = usesOf(program);
  const calls: Call[] = [...program.calls];
  const added: Buffer[] = [];
  program.calls.forEach((backward, position) => {
    if (backward.kernel !== 'CausalAttentionBackward') return;
    const [dy, qkv] = backward.inputs;
    const at = calls.findLastIndex(
      ({ kernel, inputs }, index) => index < position && kernel === 'CausalAttention' && inputs[0] === qkv,
    );
    if (at < 0) return;
    const forward = calls[at]!;
    const y = forward.outputs[0]!;
    if (uses[y]!.writes.length !== 1) return;
    const [batch, length] = program.buffers[qkv!]!.shape;
    const lse = program.buffers.length + added.length;
    added.push({
      name: `CausalAttention.lse:${at}`,
      shape: [batch!, Number(forward.attributes.heads), length!],
      storage: 'float32',
      role: 'temporary',
      group: 'activations',
    });
    calls[at] = { ...forward, kernel: 'CausalAttentionWithLse', outputs: [y, lse] };
    calls[position] = { ...backward, kernel: 'CausalAttentionBackwardFromLse', inputs: [dy!, qkv!, y, lse] };
  });
  return added.length === 0 ? program : { ...program, buffers: [...program.buffers, ...added], calls };
}
